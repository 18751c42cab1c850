"""The loops of :mod:`dccnet.conv4d.paired` over one volume, compiled by Numba when they are first called.

A CPU's lanes are neighbouring cells here, of which there are enough whatever the channels. Innermost, four
channels of the *wide* side, the one with more of them, meet three taps: the twelve factors stay in
registers, and whatever is read serves three or four times.

Volumes are flat buffers, as :class:`~dccnet.conv4d.planes.Planes`, p, lays them out. All arrays are contiguous
and of one floating-point type; the wide side has a multiple of four channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from dccnet.conv4d.planes import Planes

Floats = NDArray[np.floating[Any]]
Distances = NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        # Sums may be taken in any order; unlike with Numba's fastmath=True, NaN and infinity count.
        "fastmath": {"contract", "nsz", "reassoc"},
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # there is nowhere to keep compiled code
        return numba.njit(**options)(function)


@_compiled
def _finish(y: Floats, gate: Floats, relu: bool) -> Any:
    """Make ``y`` zero where ``gate`` is not positive and, with ``relu``, where it is not itself. Returns the sum."""
    zero = y.dtype.type(0)
    total = zero
    for cell in range(len(y)):
        kept = y[cell]
        kept = zero if gate[cell] <= zero else kept  # so written, NaN stays
        kept = zero if relu & (kept <= zero) else kept
        y[cell] = kept
        total += kept
    return total


@_compiled
def widen(
    x: Floats, kernel: Floats, distances: Distances, bias: Floats, gate: Floats, relu: bool,
    y: Floats, totals: Floats, p: Planes,
) -> None:  # fmt: skip
    """Convolve into ``y``, the wide side. ``kernel`` is ``(Cy/4, Cx, k1, k2, len(distances)/3, 4, 3)``.

    ``gate`` is one plane's cells, the same everywhere, or a volume like ``y``: where it is not positive, ``y``
    becomes zero, and with ``relu`` also where it is not itself. ``totals``, ``(Cy,)``, is what ``y`` adds up to.
    """
    blocks, channels, k1, k2, groups = kernel.shape[:5]
    r1, r2 = k1 // 2, k2 // 2
    n, apart, everywhere = p.d3 * p.row, p.channel, len(gate) < len(y)
    totals[:] = 0
    for channel in range(4 * blocks):
        y[(channel + 1) * apart - p.length : (channel + 1) * apart] = 0
    for i in range(p.d1):
        for block in range(blocks):
            for j in range(p.d2):
                at = 4 * block * apart + (i * p.d2 + j) * p.length + p.lead
                y0, y1 = y[at : at + n], y[at + apart : at + apart + n]
                y2, y3 = y[at + 2 * apart : at + 2 * apart + n], y[at + 3 * apart : at + 3 * apart + n]
                y0[:] = bias[4 * block]
                y1[:] = bias[4 * block + 1]
                y2[:] = bias[4 * block + 2]
                y3[:] = bias[4 * block + 3]
                for c in range(channels):
                    for t1 in range(max(r1 - i, 0), min(p.d1 + r1 - i, k1)):
                        for t2 in range(max(r2 - j, 0), min(p.d2 + r2 - j, k2)):
                            start = c * apart + ((i + t1 - r1) * p.d2 + j + t2 - r2) * p.length + p.lead
                            for group in range(groups):
                                x0 = x[start + distances[3 * group] :]
                                x1 = x[start + distances[3 * group + 1] :]
                                x2 = x[start + distances[3 * group + 2] :]
                                w = kernel[block, c, t1, t2, group]
                                w00, w01, w02 = w[0, 0], w[0, 1], w[0, 2]
                                w10, w11, w12 = w[1, 0], w[1, 1], w[1, 2]
                                w20, w21, w22 = w[2, 0], w[2, 1], w[2, 2]
                                w30, w31, w32 = w[3, 0], w[3, 1], w[3, 2]
                                for cell in range(n):
                                    a, b, d = x0[cell], x1[cell], x2[cell]
                                    y0[cell] += w00 * a + w01 * b + w02 * d
                                    y1[cell] += w10 * a + w11 * b + w12 * d
                                    y2[cell] += w20 * a + w21 * b + w22 * d
                                    y3[cell] += w30 * a + w31 * b + w32 * d
                for channel in range(4):
                    here = at + channel * apart
                    y[here - p.lead : here] = 0
                    y[here + n : here - p.lead + p.length] = 0
                    seen = gate if everywhere else gate[here:]
                    totals[4 * block + channel] += _finish(y[here : here + n], seen, relu)


@_compiled
def narrow(
    x: Floats, kernel: Floats, distances: Distances, bias: Floats, gate: Floats, relu: bool,
    y: Floats, totals: Floats, p: Planes, sums: Floats, k2: int,
) -> None:  # fmt: skip
    """As :func:`widen`, from the wide side. ``kernel`` is ``(Cx/4, Cy, k1, k2/3 rounded up, len(distances), 4, 3)``.

    The three taps are along D2. ``sums`` is room, ``(Cy, D1, D2 + 3·(k2/3 rounded up) - 1, at least D3·row)``:
    planes around those of D2 take what falls outside.
    """
    blocks, channels, k1, groups, taps = kernel.shape[:5]
    r1, before = k1 // 2, 3 * groups - 1 - k2 // 2
    n, apart, everywhere = p.d3 * p.row, p.channel, len(gate) < len(y)
    for c in range(channels):
        sums[c] = bias[c]
    for i in range(p.d1):
        for block in range(blocks):
            for j in range(p.d2):
                start = 4 * block * apart + (i * p.d2 + j) * p.length + p.lead
                for c in range(channels):
                    for t1 in range(max(i + r1 - p.d1 + 1, 0), min(i + r1 + 1, k1)):
                        for group in range(groups):
                            at = j + 3 * (groups - group) - 1
                            y0 = sums[c, i + r1 - t1, at]
                            y1 = sums[c, i + r1 - t1, at - 1]
                            y2 = sums[c, i + r1 - t1, at - 2]
                            for tap in range(taps):
                                x0 = x[start + distances[tap] :]
                                x1, x2, x3 = x0[apart:], x0[2 * apart :], x0[3 * apart :]
                                w = kernel[block, c, t1, group, tap]
                                w00, w01, w02 = w[0, 0], w[0, 1], w[0, 2]
                                w10, w11, w12 = w[1, 0], w[1, 1], w[1, 2]
                                w20, w21, w22 = w[2, 0], w[2, 1], w[2, 2]
                                w30, w31, w32 = w[3, 0], w[3, 1], w[3, 2]
                                for cell in range(n):
                                    a, b, d, e = x0[cell], x1[cell], x2[cell], x3[cell]
                                    y0[cell] += w00 * a + w10 * b + w20 * d + w30 * e
                                    y1[cell] += w01 * a + w11 * b + w21 * d + w31 * e
                                    y2[cell] += w02 * a + w12 * b + w22 * d + w32 * e
    y[:] = 0
    totals[:] = 0
    for c in range(channels):
        for i in range(p.d1):
            for j in range(p.d2):
                here = c * apart + (i * p.d2 + j) * p.length + p.lead
                plane = y[here : here + n]
                plane[:] = sums[c, i, before + j, :n]
                totals[c] += _finish(plane, gate if everywhere else gate[here:], relu)


@_compiled
def correlate(thin: Floats, wide: Floats, distances: Distances, kernel: Floats, p: Planes) -> None:
    """The gradient of :func:`widen`'s ``kernel``, where ``wide`` is that of its ``y``."""
    blocks, channels, k1, k2, groups = kernel.shape[:5]
    r1, r2 = k1 // 2, k2 // 2
    apart = p.channel
    zero = thin.dtype.type(0)
    kernel[:] = 0
    for i in range(p.d1):
        for block in range(blocks):
            for c in range(channels):
                for t1 in range(max(r1 - i, 0), min(p.d1 + r1 - i, k1)):
                    for t2 in range(max(r2 - p.d2 + 1, 0), min(p.d2 + r2, k2)):
                        first, last = max(r2 - t2, 0), min(p.d2 + r2 - t2, p.d2)
                        # All planes at once: the zeros between them add nothing.
                        cells = (last - first - 1) * p.length + p.d3 * p.row
                        at = 4 * block * apart + (i * p.d2 + first) * p.length + p.lead
                        y0, y1 = wide[at:], wide[at + apart :]
                        y2, y3 = wide[at + 2 * apart :], wide[at + 3 * apart :]
                        start = c * apart + ((i + t1 - r1) * p.d2 + first + t2 - r2) * p.length + p.lead
                        for group in range(groups):
                            x0 = thin[start + distances[3 * group] :]
                            x1 = thin[start + distances[3 * group + 1] :]
                            x2 = thin[start + distances[3 * group + 2] :]
                            w00 = w01 = w02 = w10 = w11 = w12 = zero
                            w20 = w21 = w22 = w30 = w31 = w32 = zero
                            for cell in range(cells):
                                a, b, d = x0[cell], x1[cell], x2[cell]
                                w00 += y0[cell] * a
                                w01 += y0[cell] * b
                                w02 += y0[cell] * d
                                w10 += y1[cell] * a
                                w11 += y1[cell] * b
                                w12 += y1[cell] * d
                                w20 += y2[cell] * a
                                w21 += y2[cell] * b
                                w22 += y2[cell] * d
                                w30 += y3[cell] * a
                                w31 += y3[cell] * b
                                w32 += y3[cell] * d
                            w = kernel[block, c, t1, t2, group]
                            w[0, 0] += w00
                            w[0, 1] += w01
                            w[0, 2] += w02
                            w[1, 0] += w10
                            w[1, 1] += w11
                            w[1, 2] += w12
                            w[2, 0] += w20
                            w[2, 1] += w21
                            w[2, 2] += w22
                            w[3, 0] += w30
                            w[3, 1] += w31
                            w[3, 2] += w32
