"""Weights in INT8: a scale for each output channel, and which way each weight is rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
LARGEST_IN_PAIRS = 63
"""On AVX2, ONNX Runtime adds two products of unsigned and signed bytes in 16 bits, which saturate unless
the weights have 7 bits. Depthwise convolutions are computed otherwise, and do not."""
_LARGEST_BIAS = 2.0**30
"""In steps of the accumulator: what stores biases as INT32 overflows at twice that."""


def channel_scales(
    weight: NDArray[Any], bias: NDArray[Any] | None, input_step: float, largest: int = LARGEST
) -> NDArray[np.float64]:
    """Step of each output channel of ``weight (out, in, ...)``, symmetric, exact in the weight's own type:
    ``(out,)``.

    Channels that training left with next to no weights keep a step at which their ``bias (out,)``, in steps
    of input times weight, fits into the INT32 that ONNX Runtime stores it in: it overflows without a word.
    """
    scale = np.abs(weight).reshape(len(weight), -1).max(axis=1).astype(np.float64) / largest
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias).astype(np.float64) / (input_step * _LARGEST_BIAS))
    smallest = float(np.finfo(weight.dtype).tiny)
    stored: NDArray[np.float64] = np.maximum(scale, smallest).astype(weight.dtype).astype(np.float64)
    return stored


def round_kernels(steps: NDArray[np.float64], largest: int = LARGEST) -> NDArray[np.int8]:
    """Weights in steps ``(out, in, ...)`` -> integers, such that each kernel keeps its sum.

    Neighbouring pixels are alike. So what rounding does to a kernel's response is first of all what it does
    to the sum of its taps, and rounding each to its nearest lets these errors add up, the same way in every
    pixel. Taps that were nearly rounded the other way are, until the sum is the nearest that there is. A
    kernel of one tap is rounded to its nearest.
    """
    flat = steps.reshape(steps.shape[0] * steps.shape[1], -1)
    rounded = np.clip(np.round(flat), -largest, largest)
    missing = np.round(flat.sum(axis=1) - rounded.sum(axis=1)).astype(np.int64)
    if flat.shape[1] > 1:
        for kernel in np.flatnonzero(missing):
            sign = np.sign(missing[kernel])
            nearest_first = np.argsort(sign * (rounded[kernel] - flat[kernel]), kind="stable")
            free = [tap for tap in nearest_first if abs(rounded[kernel, tap] + sign) <= largest]
            rounded[kernel, free[: abs(missing[kernel])]] += sign
    return rounded.reshape(steps.shape).astype(np.int8)
