"""The loops of ``complex_spectra.py``: complex numbers times complex numbers, frequency by frequency.

SIMD lanes hold neighbouring numbers of a row. The innermost loop adds five rows, times complex factors that
stay in registers, to two other rows: forty multiplications for every four numbers that are written. Each
frequency is copied to scratch memory whose rows are a constant number of places apart, or the compiler
would check before every loop whether the rows overlap, which takes longer than the loop. Numba compiles it
when it is first called.

Spectra are ``(F, re/im, C, n)``, where n counts the cells of the axis that stays as it is. Filters are
``(F, re/im, Cout, Cin·k)``, filled up with zeros to an even number of outputs and to a multiple of five
taps for each input; ``taps`` is their number before that. Functions compute the frequencies from ``first``
to ``last``, which is not included, and all arrays have one floating-point type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.network.conv4d.kernels import compiled, inlined

Floats = NDArray[np.floating[Any]]
ROWS = 5
"""Rows that are added at a time, to two others."""
LANES = 16
"""Rows are as long as a multiple of this, so that no loop ends in single numbers."""
LONGEST = 128
"""Numbers of a row that are computed at a time."""
APART = LONGEST + LANES
"""Distance of two rows of sums, and of two rows that belong to neighbouring cells."""
IMAGINARY = 1 << 14
"""Distance of a row's imaginary part."""


@compiled
def _up(n: int, multiple: int) -> int:
    return (n + multiple - 1) // multiple * multiple


@compiled
def _copy(source: Floats, start: int, target: Floats, length: int) -> None:
    """Copy ``length`` numbers from ``start``; those outside of ``source`` are zero."""
    first, last = min(max(-start, 0), length), min(len(source) - start, length)
    for j in range(first):
        target[j] = 0
    seen = source[max(start, 0) :]
    for j in range(first, last):
        target[j] = seen[j - first]
    for j in range(max(last, 0), length):
        target[j] = 0


@compiled
def _clear(sums: Floats, length: int) -> None:
    """Zero the sums of two outputs."""
    for row in range(4):
        target = sums[row * APART :]
        for j in range(length):
            target[j] = 0


@inlined
def _add_products(
    factors: Floats, output: int, column: int, rows: Floats, apart: int, sums: Floats, length: int
) -> None:
    """Add the products of :data:`ROWS` rows, ``apart`` places from each other, to those of two outputs.

    ``factors (re/im, outputs, columns)`` are used from ``column``.
    """
    a, b = factors[0, output, column:], factors[1, output, column:]
    c, d = factors[0, output + 1, column:], factors[1, output + 1, column:]
    a0, a1, a2, a3, a4, b0, b1, b2, b3, b4 = a[0], a[1], a[2], a[3], a[4], b[0], b[1], b[2], b[3], b[4]
    c0, c1, c2, c3, c4, d0, d1, d2, d3, d4 = c[0], c[1], c[2], c[3], c[4], d[0], d[1], d[2], d[3], d[4]
    for j in range(length):
        p0, p1, p2 = rows[j], rows[j + apart], rows[j + 2 * apart]
        p3, p4 = rows[j + 3 * apart], rows[j + 4 * apart]
        q0, q1, q2 = rows[j + IMAGINARY], rows[j + apart + IMAGINARY], rows[j + 2 * apart + IMAGINARY]
        q3, q4 = rows[j + 3 * apart + IMAGINARY], rows[j + 4 * apart + IMAGINARY]
        sums[j] += (
            a0 * p0 + a1 * p1 + a2 * p2 + a3 * p3 + a4 * p4
            - b0 * q0 - b1 * q1 - b2 * q2 - b3 * q3 - b4 * q4
        )  # fmt: skip
        sums[j + APART] += (
            a0 * q0 + a1 * q1 + a2 * q2 + a3 * q3 + a4 * q4
            + b0 * p0 + b1 * p1 + b2 * p2 + b3 * p3 + b4 * p4
        )  # fmt: skip
        sums[j + 2 * APART] += (
            c0 * p0 + c1 * p1 + c2 * p2 + c3 * p3 + c4 * p4
            - d0 * q0 - d1 * q1 - d2 * q2 - d3 * q3 - d4 * q4
        )  # fmt: skip
        sums[j + 3 * APART] += (
            c0 * q0 + c1 * q1 + c2 * q2 + c3 * q3 + c4 * q4
            + d0 * p0 + d1 * p1 + d2 * p2 + d3 * p3 + d4 * p4
        )  # fmt: skip


@compiled
def _transpose(filters: Floats, taps: int, factors: Floats) -> None:
    """Write the conjugate factors of outputs for inputs, with ``taps`` in the opposite order.

    ``filters`` are ``(re/im, Cin, Cout·k)``, ``factors (re/im, Cout, Cin·k)``.
    """
    whole = factors.shape[2] // filters.shape[1]
    for part in range(2):
        sign = filters.dtype.type(-1 if part else 1)
        for channel in range(filters.shape[1]):
            source = filters[part, channel]
            for output in range(len(source) // whole):
                target = factors[part, output, channel * whole :]
                for tap in range(taps):
                    target[tap] = sign * source[output * whole + taps - 1 - tap]


@compiled
def convolve(
    x: Floats, filters: Floats, taps: int, adjoint: bool, y: Floats, first: int, last: int
) -> None:
    """Write the spectra ``y (F, re/im, Cout, n)`` of the filtered ``x (F, re/im, Cin, n)``.

    ``adjoint`` applies the transposed filters, from Cout to Cin channels.
    """
    _, _, channels, n = x.shape
    outputs, whole, centre = y.shape[2], _up(taps, ROWS), taps // 2
    row = min(_up(n, LANES), LONGEST) + whole
    most = IMAGINARY // row
    rows = np.zeros(IMAGINARY + min(channels, most) * row, x.dtype)
    sums = np.zeros(_up(outputs, 2) * 2 * APART, x.dtype)
    transposed = np.zeros((2, _up(outputs, 2), filters.shape[2] * whole), x.dtype)
    for f in range(first, last):
        factors = filters[f]
        if adjoint:
            _transpose(factors, taps, transposed)
            factors = transposed
        for start in range(0, n, LONGEST):
            here = min(n - start, LONGEST)
            length = _up(here, LANES)
            for group in range(0, channels, most):
                some = min(channels - group, most)
                for part in range(2):
                    for channel in range(some):
                        target = rows[part * IMAGINARY + channel * row :]
                        _copy(x[f, part, group + channel], start - centre, target, row)
                for output in range(0, outputs, 2):
                    total = sums[2 * APART * output :]
                    if group == 0:
                        _clear(total, length)
                    for channel in range(some):
                        for tap in range(0, whole, ROWS):
                            seen, column = rows[channel * row + tap :], (group + channel) * whole + tap
                            _add_products(factors, output, column, seen, 1, total, length)
            for output in range(outputs):
                for part in range(2):
                    total, target = sums[(2 * output + part) * APART :], y[f, part, output, start:]
                    for j in range(here):
                        target[j] = total[j]


@compiled
def _spread(x: Floats, sign: Any, taps: int, row: Floats) -> None:
    """Write the ``taps`` first numbers of each channel one after the other, times ``sign``."""
    whole = _up(taps, LANES)
    for channel in range(len(x)):
        source, target = x[channel], row[channel * taps :]
        for tap in range(whole):  # more than its own, in one go; the next channel replaces them
            target[tap] = sign * source[tap]


@compiled
def correlate(x: Floats, g: Floats, filters: Floats, taps: int, first: int, last: int) -> None:
    """Add to ``filters`` the products of ``g (F, re/im, Cout, n)``, the spectrum of a gradient, and the
    conjugate of ``x (F, re/im, Cin, n)``."""
    _, _, channels, n = x.shape
    outputs, numbers = g.shape[2], filters.shape[3]
    whole, most = numbers // channels, IMAGINARY // APART // ROWS * ROWS
    row = _up(n, ROWS) + _up(whole, LANES)
    padded = np.zeros((channels, row), x.dtype)
    rows = np.zeros(2 * IMAGINARY, x.dtype)
    factors = np.zeros((2, filters.shape[2], most), x.dtype)
    sums = np.zeros(filters.shape[2] * 2 * APART, x.dtype)
    for f in range(first, last):
        for start in range(0, channels, LONGEST // whole):
            some = min(channels - start, LONGEST // whole)
            length = _up(some * whole, LANES)
            for cells in range(0, n, most):
                count = _up(min(n - cells, most), ROWS)
                for part in range(2):
                    for channel in range(some):
                        _copy(x[f, part, start + channel], -(taps // 2), padded[channel], row)
                    sign = x.dtype.type(-1 if part else 1)
                    for j in range(count):
                        here = part * IMAGINARY + j * APART
                        _spread(padded[:some, cells + j :], sign, whole, rows[here:])
                    for output in range(outputs):
                        _copy(g[f, part, output], cells, factors[part, output], count)
                for output in range(0, outputs, 2):
                    total = sums[2 * APART * output :]
                    if cells == 0:
                        _clear(total, length)
                    for j in range(0, count, ROWS):
                        _add_products(factors, output, j, rows[j * APART :], APART, total, length)
            for output in range(outputs):
                for part in range(2):
                    total, target = sums[(2 * output + part) * APART :], filters[f, part, output]
                    for number in range(some * whole):
                        target[start * whole + number] += total[number]
