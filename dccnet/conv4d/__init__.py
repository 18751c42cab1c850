"""4D convolution, and the exact ways to compute it: ``stack`` and ``spectral``."""

from dccnet.conv4d.layer import LOWERINGS, STACK, Conv4d, Lowering, conv4d

__all__ = ["LOWERINGS", "STACK", "Conv4d", "Lowering", "conv4d"]
