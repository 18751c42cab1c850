"""The loops of ``complex_spectra.py`` over one frequency: complex numbers times complex numbers.

SIMD lanes hold neighbouring numbers of a row. The innermost loop adds five rows, times complex factors that
stay in registers, to two other rows: forty multiplications for every four numbers that are written. Each
frequency is copied to scratch memory whose rows are a constant number of places apart, or the compiler
would check before every loop whether the rows overlap, which takes longer than the loop. Numba compiles it
when it is first called.

Spectra are ``(re/im, C, n)``, where n counts the cells of the axis that stays as it is. Filters are
``(re/im, Cout, Cin·k)``, filled up with zeros to an even number of outputs and to a multiple of five taps
for each input; ``taps`` is their number before that. All arrays have one floating-point type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.network.conv4d.compiled import compiled, inlined

Floats = NDArray[np.floating[Any]]
ROWS = 5
"""Rows that are added at a time, to two others."""
LANES = 16
"""Rows are as long as a multiple of this, so that no loop ends in single numbers."""
LONGEST = 128
"""Numbers of a row that are computed at a time."""
APART = LONGEST + LANES
"""Distance of two rows of sums."""
IMAGINARY = 1 << 14
"""Distance of a row's imaginary part."""


@compiled
def _up(n: int, multiple: int) -> int:
    return (n + multiple - 1) // multiple * multiple


@compiled
def _clear(sums: Floats, length: int) -> None:
    """Zero the sums of two outputs."""
    for row in range(4):
        target = sums[row * APART :]
        for j in range(length):
            target[j] = 0


@inlined
def _add_products(
    a: Floats,
    b: Floats,
    c: Floats,
    d: Floats,
    adjoint: bool,
    rows: Floats,
    apart: int,
    sums: Floats,
    length: int,
) -> None:
    """Add the products of :data:`ROWS` rows, ``apart`` places from each other, to those of two outputs.

    ``a`` and ``b`` are the real and imaginary factors of the first output, ``c`` and ``d`` of the second;
    ``adjoint`` takes their conjugates in the opposite order.
    """
    a0, a1, a2, a3, a4, b0, b1, b2, b3, b4 = a[0], a[1], a[2], a[3], a[4], b[0], b[1], b[2], b[3], b[4]
    c0, c1, c2, c3, c4, d0, d1, d2, d3, d4 = c[0], c[1], c[2], c[3], c[4], d[0], d[1], d[2], d[3], d[4]
    if adjoint:
        a0, a1, a3, a4, b0, b1, b2, b3, b4 = a4, a3, a1, a0, -b4, -b3, -b2, -b1, -b0
        c0, c1, c3, c4, d0, d1, d2, d3, d4 = c4, c3, c1, c0, -d4, -d3, -d2, -d1, -d0
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
def convolve(
    x: Floats, filters: Floats, taps: int, adjoint: bool, y: Floats, rows: Floats, sums: Floats
) -> None:
    """Write the filtered ``x (re/im, Cin, n)`` to ``y (re/im, Cout, n)``.

    ``adjoint`` applies the transposed filters, from Cout to Cin channels. ``rows`` and ``sums`` are scratch
    memory (:func:`scratch_rows`, :func:`scratch_sums`); that of ``rows`` serves one shape of ``x``, and no
    other function.
    """
    _, channels, n = x.shape
    outputs, whole = y.shape[1], _up(taps, ROWS)
    before = whole - 1 - taps // 2 if adjoint else taps // 2
    row = min(_up(n, LANES), LONGEST) + whole
    most = IMAGINARY // row
    for start in range(0, n, LONGEST):
        here = min(n - start, LONGEST)
        length = _up(here, LANES)
        first, last = max(start - before, 0), min(start - before + row, n)
        for group in range(0, channels, most):
            some = min(channels - group, most)
            for part in range(2):
                for channel in range(some):
                    target = rows[part * IMAGINARY + channel * row :]
                    if n > LONGEST:  # else what lies around the cells is still zero
                        for j in range(row):
                            target[j] = 0
                    source, inner = x[part, group + channel, first:], target[first - start + before :]
                    for j in range(last - first):
                        inner[j] = source[j]
            for output in range(0, outputs, 2):
                total, second = sums[2 * APART * output :], min(output + 1, outputs - 1)
                if group == 0:
                    _clear(total, length)
                for channel in range(some):
                    number = group + channel
                    for tap in range(0, whole, ROWS):
                        seen = rows[channel * row + tap :]
                        if adjoint:
                            at, other = output * whole + whole - ROWS - tap, (second - output) * whole
                            a, b = filters[0, number, at:], filters[1, number, at:]
                            c, d = filters[0, number, at + other :], filters[1, number, at + other :]
                        else:
                            at = number * whole + tap
                            a, b = filters[0, output, at:], filters[1, output, at:]
                            c, d = filters[0, output + 1, at:], filters[1, output + 1, at:]
                        _add_products(a, b, c, d, adjoint, seen, 1, total, length)
        for output in range(outputs):
            for part in range(2):
                total, target = sums[(2 * output + part) * APART :], y[part, output, start:]
                for j in range(here):
                    target[j] = total[j]


@compiled
def scratch_rows(like: Floats) -> Floats:
    """Memory for the rows of one frequency and their imaginary parts."""
    return np.zeros(2 * IMAGINARY, like.dtype)


@compiled
def scratch_sums(outputs: int, like: Floats) -> Floats:
    """Memory for the sums of all outputs."""
    return np.zeros(_up(outputs, 2) * 2 * APART, like.dtype)


@compiled
def correlate(x: Floats, g: Floats, taps: int, filters: Floats, rows: Floats, sums: Floats) -> None:
    """Add to ``filters (re/im, Cout, k·Cin)`` the products of ``g (re/im, Cout, n)``, the spectrum of a
    gradient, and the conjugate of ``x (re/im, Cin, n)``.

    A cell's channels are neighbours in ``rows``, and its taps are the cells that follow, so that the
    products with all of them are those with one row.
    """
    _, channels, n = x.shape
    outputs, count = g.shape[1], _up(n, ROWS)
    most = min(LANES, (IMAGINARY - APART) // (count + taps))
    factors = np.zeros((2, _up(outputs, 2), count), x.dtype)
    for part in range(2):
        for output in range(outputs):
            for j in range(n):
                factors[part, output, j] = g[part, output, j]
    for group in range(0, channels, most):
        some = min(channels - group, most)
        for part in range(2):
            sign = x.dtype.type(-1 if part else 1)
            target = rows[part * IMAGINARY :]
            for j in range((count + taps) * some):
                target[j] = 0
            inner = target[taps // 2 * some :]
            for channel in range(some):
                source = x[part, group + channel]
                for j in range(n):
                    inner[j * some + channel] = sign * source[j]
        for first in range(0, taps, LONGEST // some):
            last = min(first + LONGEST // some, taps)
            length = _up((last - first) * some, LANES)
            for output in range(0, outputs, 2):
                _clear(sums, length)
                for j in range(0, count, ROWS):
                    a, b = factors[0, output, j:], factors[1, output, j:]
                    c, d = factors[0, output + 1, j:], factors[1, output + 1, j:]
                    seen = rows[(j + first) * some :]
                    if some == LANES:  # a constant distance spares checks whether rows overlap
                        _add_products(a, b, c, d, False, seen, LANES, sums, length)
                    elif some == 1:
                        _add_products(a, b, c, d, False, seen, 1, sums, length)
                    else:
                        _add_products(a, b, c, d, False, seen, some, sums, length)
                for row in range(min(2, outputs - output) * 2):
                    total, target = sums[row * APART :], filters[row % 2, output + row // 2, group:]
                    for tap in range(first, last):
                        for channel in range(some):
                            target[tap * channels + channel] += total[(tap - first) * some + channel]
