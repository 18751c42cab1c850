"""Discrete Fourier transforms of short axes, as matrices of real numbers.

A matrix holds complex numbers as blocks of reals. Towards frequencies, its rows are (frequency, re/im)
and its columns (re/im, position); back, rows are (re/im, position) and columns (frequency, re/im). So each
transform reads the layout that the one before wrote, with re/im right before the axes not yet transformed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    frequencies_to_taps: Matrix
    """Gradient of the taps from that of their spectrum, where both spectra that were multiplied for it came
    from ``to_frequencies``: ``(2·k, 2·frequencies)``, or ``(k, 2·frequencies)`` along the first axis."""


@lru_cache(maxsize=256)
def axis_transform(cells: int, taps: int, first: bool) -> AxisTransform:
    """``first``: the volume is real along this axis, so half of the frequencies determine it."""
    length = cells + taps // 2
    frequencies = length // 2 + 1 if first else length
    scale = 2.0 ** -round(math.log2(length) / 2)
    waves = scale * _waves(frequencies, range(cells), length)
    shares = np.full(frequencies, 1 / (length * scale**2))
    if first:
        shares[1 : (length + 1) // 2] *= 2  # each stands for its conjugate as well
    back = waves.conj().T * shares
    forward, inverse = _blocks(waves), _blocks(back)
    centred = _waves(frequencies, range(-(taps // 2), taps // 2 + 1), length).conj()
    of_taps, to_taps = _blocks(centred), _blocks(centred.conj().T * shares)
    return AxisTransform(
        length,
        frequencies,
        scale,
        to_frequencies=Matrix((forward[:, :, :1] if first else forward).reshape(2 * frequencies, -1)),
        to_cells=Matrix(
            (inverse[:, :1] if first else inverse).transpose(1, 0, 3, 2).reshape(-1, 2 * frequencies)
        ),
        taps_to_frequencies=Matrix((of_taps[:, :, :1] if first else of_taps).reshape(2 * frequencies, -1)),
        frequencies_to_taps=Matrix(
            (to_taps[:, :1] if first else to_taps).transpose(1, 0, 3, 2).reshape(-1, 2 * frequencies)
        ),
    )


def to_frequencies(matrices: Sequence[Matrix], x: Tensor, rows: int) -> Tensor:
    """Transform axis after axis; ``rows`` is the product of the sides before them."""
    for matrix in matrices:
        x = _multiply(matrix, x.reshape(rows, matrix.shape[1], -1))
        rows = rows * (matrix.shape[0] // 2)
    return x


def to_cells(matrices: Sequence[Matrix], x: Tensor, rows: int) -> Tensor:
    """The inverse; ``rows`` is the product of the sides before re/im."""
    for matrix in matrices:
        rows = rows // (matrix.shape[1] // 2)
        x = _multiply(matrix, x.reshape(rows, matrix.shape[1], -1))
    return x


def _multiply(matrix: Matrix, x: Tensor) -> Tensor:
    """``(R, C)`` times ``(B, C, N)`` -> ``(B, R, N)``."""
    left = matrix.like(x)
    # MKL is up to ten times slower with a batch of one than without a batch dimension.
    return torch.mm(left, x.flatten(0, 1)).unsqueeze(0) if x.shape[0] == 1 else left @ x


def _waves(frequencies: int, positions: range, length: int) -> _Complex:
    """``exp(-2πi·f·p/length)``: a row for each frequency f from 0, a column for each position p."""
    waves: _Complex = np.exp(-2j * np.pi * np.outer(np.arange(frequencies), positions) / length)
    return waves


def _blocks(m: _Complex) -> _Floats:
    """Complex ``(rows, columns)`` -> real ``(rows, re/im out, re/im in, columns)``."""
    real, imaginary = np.stack([m.real, -m.imag], 1), np.stack([m.imag, m.real], 1)
    return np.stack([real, imaginary], 1)
