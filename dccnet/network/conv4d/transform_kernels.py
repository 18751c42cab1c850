"""The loops of ``complex_spectra.py`` that transform an axis to frequencies and back.

Positions are counted from the middle of the axis, so that sums and differences of mirrored cells meet
cosines and sines alone, which frequencies f and -f share: a quarter of the multiplications of a matrix.
Everything happens in scratch memory that fits into a core's cache. SIMD lanes hold neighbouring numbers of
the axes after the transformed one; see ``complex_kernels.py`` for the constant distance of rows. Numba
compiles the loops when they are first called.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.network.conv4d.compiled import compiled, inlined
from dccnet.network.conv4d.waves import ROWS, Waves

Floats = NDArray[np.floating[Any]]
LANES = 16
LONGEST = 512
"""Numbers of a row that are computed at a time."""
APART = LONGEST + LANES
"""Distance of two rows."""


assert ROWS == 7


@compiled
def pieces(numbers: int) -> int:
    """Pieces of at most :data:`LONGEST` numbers."""
    return (numbers + LONGEST - 1) // LONGEST


@inlined
def _multiply(m: Floats, x: Floats, y: Floats, length: int) -> None:
    """Write the product of the matrix ``m`` and the rows of ``x`` to those of ``y``."""
    for row in range(0, m.shape[0], 2):
        target = y[row * APART :]
        for j in range(length):
            target[j] = 0
            target[j + APART] = 0
        for column in range(0, m.shape[1], ROWS):
            a, b, seen = m[row, column:], m[row + 1, column:], x[column * APART :]
            a0, a1, a2, a3, a4, a5, a6 = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
            b0, b1, b2, b3, b4, b5, b6 = b[0], b[1], b[2], b[3], b[4], b[5], b[6]
            for j in range(length):
                x0, x1, x2, x3 = seen[j], seen[j + APART], seen[j + 2 * APART], seen[j + 3 * APART]
                x4, x5, x6 = seen[j + 4 * APART], seen[j + 5 * APART], seen[j + 6 * APART]
                target[j] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3 + a4 * x4 + a5 * x5 + a6 * x6
                target[j + APART] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3 + b4 * x4 + b5 * x5 + b6 * x6


@compiled
def forward(x: Floats, w: Waves, y: Floats, first: int, last: int) -> None:
    """Write the spectra ``y (B, frequencies, re/im, N)`` of ``x (B, re/im, n, N)``, or of ``(B, 1, n, N)``.

    Of the latter, which are real, only frequencies up to the half. ``first`` and ``last``, which is not
    included, count pieces of :data:`LONGEST` numbers of N, a whole number of them for each B.
    """
    _, parts, n, numbers = x.shape
    frequencies, each = y.shape[1], pieces(numbers)
    even, odd = np.zeros((2, parts, w.cosines.shape[1] * APART), x.dtype)
    cos, sin = np.zeros((2, parts, w.cosines.shape[0] * APART), x.dtype)
    for piece in range(first, last):
        b, start = piece // each, piece % each * LONGEST
        here = min(numbers - start, LONGEST)
        length = (here + LANES - 1) // LANES * LANES
        for part in range(parts):
            for pair in range((n + 1) // 2):
                upper, lower = x[b, part, n // 2 + pair, start:], x[b, part, (n - 1) // 2 - pair, start:]
                plus, minus = even[part, pair * APART :], odd[part, pair * APART :]
                for j in range(here):
                    plus[j] = upper[j] + lower[j]
                    minus[j] = upper[j] - lower[j]
            _multiply(w.cosines, even[part], cos[part], length)
            _multiply(w.sines, odd[part], sin[part], length)
        for f in range(frequencies if parts == 1 else frequencies // 2 + 1):
            real, imaginary = y[b, f, 0, start:], y[b, f, 1, start:]
            c0, s0 = cos[0, f * APART :], sin[0, f * APART :]
            if parts == 1:
                for j in range(here):
                    real[j] = c0[j]
                    imaginary[j] = -s0[j]
                continue
            c1, s1 = cos[1, f * APART :], sin[1, f * APART :]
            for j in range(here):
                real[j] = c0[j] + s1[j]
                imaginary[j] = c1[j] - s0[j]
            if f and 2 * f != frequencies:
                real, imaginary = y[b, frequencies - f, 0, start:], y[b, frequencies - f, 1, start:]
                for j in range(here):
                    real[j] = c0[j] - s1[j]
                    imaginary[j] = c1[j] + s0[j]


@compiled
def backward(y: Floats, w: Waves, x: Floats, first: int, last: int) -> None:
    """The inverse of :func:`forward`; writes ``x``."""
    _, parts, n, numbers = x.shape
    frequencies, each = y.shape[1], pieces(numbers)
    plus, minus = np.zeros((2, 2, w.back_cosines.shape[1] * APART), x.dtype)
    even, odd = np.zeros((2, parts, w.back_cosines.shape[0] * APART), x.dtype)
    for piece in range(first, last):
        b, start = piece // each, piece % each * LONGEST
        here = min(numbers - start, LONGEST)
        length = (here + LANES - 1) // LANES * LANES
        for f in range(frequencies if parts == 1 else frequencies // 2 + 1):
            at = f * APART
            p0, p1, m0, m1 = plus[0, at:], plus[1, at:], minus[0, at:], minus[1, at:]
            real, imaginary = y[b, f, 0, start:], y[b, f, 1, start:]
            if parts == 2 and f and 2 * f != frequencies:
                other, others = y[b, frequencies - f, 0, start:], y[b, frequencies - f, 1, start:]
                for j in range(here):
                    p0[j] = real[j] + other[j]
                    p1[j] = imaginary[j] + others[j]
                    m0[j] = others[j] - imaginary[j]
                    m1[j] = real[j] - other[j]
            else:  # a frequency of its own
                for j in range(here):
                    p0[j] = real[j]
                    p1[j] = imaginary[j]
                    m0[j] = -imaginary[j]
                    m1[j] = real[j]
        for part in range(parts):
            _multiply(w.back_cosines, plus[part], even[part], length)
            _multiply(w.back_sines, minus[part], odd[part], length)
            for pair in range((n + 1) // 2):
                plus_or_minus, sums = odd[part, pair * APART :], even[part, pair * APART :]
                upper, lower = x[b, part, n // 2 + pair, start:], x[b, part, (n - 1) // 2 - pair, start:]
                for j in range(here):
                    upper[j] = sums[j] + plus_or_minus[j]
                    lower[j] = sums[j] - plus_or_minus[j]
