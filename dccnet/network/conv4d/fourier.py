"""Discrete Fourier transforms of short axes, as matrices of real numbers.

A matrix holds complex numbers as blocks of reals. Towards frequencies, its rows are (frequency, re/im)
and its columns (re/im, position); back, rows are (re/im, position) and columns (frequency, re/im). So each
transform reads the layout that the one before wrote, with re/im right before the axes not yet transformed.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Floats = NDArray[np.float64]
_Complex = NDArray[np.complex128]


class Matrix:
    """A constant matrix, which is copied to each GPU once and stays there."""

    def __init__(self, numbers: _Floats) -> None:
        self._numbers = numbers  # no tensor: one that is made while a network is traced would be a fake
        self._elsewhere: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self.shape = numbers.shape

    def like(self, x: Tensor) -> Tensor:
        """The matrix in the type and on the device of ``x``."""
        if x.device.type == "cpu":  # nothing to wait for, and an export must see a constant
            return torch.from_numpy(self._numbers).to(x)
        # A copy from the host blocks, and cannot be captured in a CUDA graph.
        key = x.dtype, x.device
        if key not in self._elsewhere:
            self._elsewhere[key] = torch.from_numpy(self._numbers).to(x)
        return self._elsewhere[key]


class AxisTransform(NamedTuple):
    """One axis of n cells that meets a kernel of k taps, on a circle of ``length`` n + k//2."""

    length: int
    frequencies: int
    scale: float
    """Scale of the spectrum: a power of two near ``1/sqrt(length)``, so that float16 can hold a spectrum
    with one single frequency as well as an even one; in float32 it changes no digit."""
    to_frequencies: Matrix
    """``(2·frequencies, 2·n)``; ``(2·frequencies, n)`` along the first axis, where nothing imaginary
    comes in."""
    to_cells: Matrix
    """Its inverse, without the cells beyond n: ``(2·n, 2·frequencies)`` or ``(n, 2·frequencies)``."""
    taps_to_frequencies: Matrix
    """``(2·frequencies, 2·k)``, or ``(2·frequencies, k)`` along the first axis: taps counted from the
    centre, for a kernel that is not flipped."""


@lru_cache(maxsize=256)
def axis_transform(cells: int, taps: int, first: bool) -> AxisTransform:
    """``first``: the volume is real along this axis, so half of the frequencies determine it."""
    length = cells + taps // 2
    frequencies = length // 2 + 1 if first else length
    scale = 2.0 ** -round(math.log2(length) / 2)
    waves = scale * _waves(frequencies, range(cells), length)
    back = waves.conj().T / (length * scale**2)
    if first:
        back[:, 1 : (length + 1) // 2] *= 2  # each stands for its conjugate as well
    forward, inverse = _blocks(waves), _blocks(back)
    centred = _blocks(_waves(frequencies, range(-(taps // 2), taps // 2 + 1), length).conj())
    return AxisTransform(
        length,
        frequencies,
        scale,
        to_frequencies=Matrix((forward[:, :, :1] if first else forward).reshape(2 * frequencies, -1)),
        to_cells=Matrix(
            (inverse[:, :1] if first else inverse).transpose(1, 0, 3, 2).reshape(-1, 2 * frequencies)
        ),
        taps_to_frequencies=Matrix((centred[:, :, :1] if first else centred).reshape(2 * frequencies, -1)),
    )


def _waves(frequencies: int, positions: range, length: int) -> _Complex:
    """``exp(-2πi·f·p/length)``: a row for each frequency f from 0, a column for each position p."""
    waves: _Complex = np.exp(-2j * np.pi * np.outer(np.arange(frequencies), positions) / length)
    return waves


def _blocks(m: _Complex) -> _Floats:
    """Complex ``(rows, columns)`` -> real ``(rows, re/im out, re/im in, columns)``."""
    real, imaginary = np.stack([m.real, -m.imag], 1), np.stack([m.imag, m.real], 1)
    return np.stack([real, imaginary], 1)
