"""Weights in INT8: a scale for each output channel, and the rounding of each weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
LARGEST_IN_PAIRS = 63
"""On AVX2, ONNX Runtime adds two products of unsigned and signed bytes in 16 bits, which saturate unless
the weights have 7 bits. Depthwise convolutions are computed in another way and do not saturate."""
_LARGEST_BIAS = 2.0**30
"""In steps of the accumulator. A bias stored as INT32 overflows at twice this value."""


def channel_scales(
    weight: NDArray[Any], bias: NDArray[Any] | None, input_step: float, largest: int = LARGEST
) -> NDArray[np.float64]:
    """Symmetric scale of each output channel of ``weight (out, in, ...)``: ``(out,)``.

    Scales are exact in the weight's own type.

    Channels whose weights are almost zero get a scale at which their ``bias (out,)``, in units of
    ``input_step`` times the scale, fits into the INT32 that ONNX Runtime stores it in, which overflows
    silently.
    """
    scale = np.abs(weight).reshape(len(weight), -1).max(axis=1).astype(np.float64) / largest
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias).astype(np.float64) / (input_step * _LARGEST_BIAS))
    smallest = float(np.finfo(weight.dtype).tiny)
    stored: NDArray[np.float64] = np.maximum(scale, smallest).astype(weight.dtype).astype(np.float64)
    return stored


def round_kernels(steps: NDArray[np.float64], largest: int = LARGEST) -> NDArray[np.int8]:
    """Round weights to integers so that kernels keep their sums.

    ``steps`` is ``(out, in, ...)``, in units of each channel's scale. Neighbouring pixels are similar, so
    the error of a kernel's response is mainly the error of the sum of its taps. Rounding every tap to the
    nearest integer lets these errors add up, with the same sign in every pixel. Therefore the taps closest
    to a tie are rounded in the other direction until the sum is as close as possible. Kernels of one tap
    are rounded to the nearest integer.
    """
    flat = steps.reshape(steps.shape[0] * steps.shape[1], -1)
    rounded = np.clip(np.round(flat), -largest, largest)
    missing = np.round(flat.sum(axis=1) - rounded.sum(axis=1)).astype(np.int64)
    if flat.shape[1] > 1:
        wrong = np.flatnonzero(missing)
        sign = np.sign(missing[wrong])[:, None]
        kernels = rounded[wrong]
        nearest_first = np.argsort(sign * (kernels - flat[wrong]), axis=1, kind="stable")
        free = np.abs(np.take_along_axis(kernels, nearest_first, axis=1) + sign) <= largest
        moved = free & (free.cumsum(axis=1) <= np.abs(missing[wrong])[:, None])
        rounded[wrong[:, None], nearest_first] += sign * moved
    return rounded.reshape(steps.shape).astype(np.int8)
