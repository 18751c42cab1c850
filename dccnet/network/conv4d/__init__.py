"""4D convolution, and the exact ways to compute it: ``stack`` and ``spectral``."""

from dccnet.network.conv4d.layer import LOWERINGS, STACK, TRAINING_LOWERINGS, Conv4d, Lowering, conv4d
from dccnet.network.conv4d.paired import Paired

__all__ = ["LOWERINGS", "STACK", "TRAINING_LOWERINGS", "Conv4d", "Lowering", "Paired", "conv4d"]
