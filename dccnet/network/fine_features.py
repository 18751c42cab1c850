"""Features at stride 4, which place a match below the cells of the grid. Not in the paper.

They are an output of an early part of the backbone, which computes them anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from dccnet.network.correlation import l2_normalise
from dccnet.network.efficientnet_lite import SameConv2d
from dccnet.network.precision import float32_island

FINE_STRIDE = 4
"""Distance between neighbouring fine features, in pixels of the frame."""


@float32_island
def fine_features(x: Tensor) -> Tensor:
    """An early part's output ``(B, C, h, w)`` -> fine features of the same shape, float16.

    The mean over the picture, which is common to all places, is subtracted, and each place is scaled to
    unit length.
    """
    return l2_normalise(x - x.mean(dim=(2, 3), keepdim=True)).half()


def first_centre(layers: Iterable[nn.Module], side: int) -> float:
    """The pixel, along one axis, at the centre of what the first fine feature sees.

    ``layers`` are all modules up to the fine features, in order, ``side`` is the frame's size along the
    axis. Layers with a stride follow each other on a single path; all others are padded evenly.
    """
    centre, pitch = 0.0, 1
    for layer in layers:
        if not isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            continue
        kernel, stride, padding = (_first(v) for v in (layer.kernel_size, layer.stride, layer.padding))
        if stride == 1:
            continue
        if isinstance(layer, SameConv2d):
            padding, _ = layer.padding_along(side)
            side = math.ceil(side / stride)
        else:
            side = (side + 2 * padding - kernel) // stride + 1
        centre += pitch * ((kernel - 1) / 2 - padding)
        pitch *= stride
    return centre


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)
