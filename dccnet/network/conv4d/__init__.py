"""4D convolution, and the exact ways to compute it (*lowerings*): docs/conv4d.md compares them."""

from dccnet.network.conv4d.layer import EXPORT_LOWERINGS, LOWERINGS, TRAINING_LOWERINGS, Conv4d, conv4d
from dccnet.network.conv4d.lowering import Layers, LayoutLowering, Lowering, recomputes
from dccnet.network.conv4d.separable import NotSeparableError
from dccnet.network.conv4d.stack import STACK

__all__ = [
    "EXPORT_LOWERINGS",
    "LOWERINGS",
    "STACK",
    "TRAINING_LOWERINGS",
    "Conv4d",
    "Layers",
    "LayoutLowering",
    "Lowering",
    "NotSeparableError",
    "conv4d",
    "recomputes",
]
