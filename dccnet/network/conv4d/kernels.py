"""The loops of ``paired.py`` over one volume. Numba compiles them when they are first called.

SIMD lanes hold neighbouring cells, of which there are always enough, however few channels there are. A
layer has a *wide* side, with more channels, and a *narrow* side; either may be its input.
The innermost loop multiplies four channels of the wide side by three taps: the twelve factors stay in
registers, and every number that is read is used three or four times.

Along D1, two slices are computed at a time from the products that :class:`AxisProducts` lists. On the wide
side, a product belongs to the first slice, to the second, to their sum or to their difference.

Volumes are ``(C, channel)``, in the layout of a :class:`Planes`, p. All arrays are contiguous and of one
floating-point type; the wide side has a multiple of four channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.network.conv4d.compiled import compiled, inlined
from dccnet.network.conv4d.planes import AxisProducts, Planes

Floats = NDArray[np.floating[Any]]
Whole = NDArray[np.int64]


@compiled
def transform(x: Floats, axis: AxisProducts, narrow_side: Floats, p: Planes) -> None:
    """Write the inputs of all products: ``narrow_side (C, pairs of slices, products, (D2 + 1)·length)``."""
    channels, pairs, products = narrow_side.shape[:3]
    reached, size = axis.narrow_side.shape[1], p.d2 * p.length
    narrow_side[:] = 0
    for c in range(channels):
        for pair in range(pairs):
            for product in range(products):
                target = narrow_side[c, pair, product]
                for s in range(reached):
                    i = 2 * pair + s - (reached - 2) // 2
                    factor = axis.narrow_side[product, s]
                    if factor != 0 and 0 <= i < p.d1:
                        source = x[c, i * size : (i + 1) * size]
                        for cell in range(size):
                            target[cell] += factor * source[cell]


@compiled
def _finish(y: Floats, gate: Floats, relu: bool) -> Any:
    """Zero ``y`` where ``gate`` is not positive and, with ``relu``, where ``y`` is not; return its sum."""
    zero = y.dtype.type(0)
    total = zero
    for cell in range(len(y)):
        kept = y[cell]
        kept = zero if gate[cell] <= zero else kept  # NaN is kept: it compares as false
        kept = zero if relu & (kept <= zero) else kept
        y[cell] = kept
        total += kept
    return total


@compiled
def _mix(x: Floats, at: int, apart: int, mixed: Floats) -> None:
    """Write sums and differences of two slices, for four channels, to ``mixed (2, 4, ·)``."""
    for channel in range(4):
        one, other = x[channel, at:], x[channel, at + apart :]
        plus, minus = mixed[0, channel], mixed[1, channel]
        for cell in range(len(plus)):
            a, b = one[cell], other[cell]
            plus[cell] = a + b
            minus[cell] = a - b


@inlined
def _four(
    x: Floats, at: int, apart: int, mixed: Floats, side: int
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    """Four channels of the slice, sum or difference that products of this ``side`` belong to."""
    if side < 2:
        here = at + side * apart
        return x[0, here:], x[1, here:], x[2, here:], x[3, here:]
    return mixed[side - 2, 0], mixed[side - 2, 1], mixed[side - 2, 2], mixed[side - 2, 3]


@inlined
def _factors(w: Floats) -> tuple[Any, ...]:
    """Factors of four channels and three taps as scalars, which stay in registers."""
    return (
        w[0, 0], w[0, 1], w[0, 2], w[1, 0], w[1, 1], w[1, 2],
        w[2, 0], w[2, 1], w[2, 2], w[3, 0], w[3, 1], w[3, 2],
    )  # fmt: skip


@compiled
def widen(
    narrow_side: Floats, kernel: Floats, distances: Whole, axis: AxisProducts, bias: Floats, gate: Floats,
    relu: bool, y: Floats, totals: Floats, p: Planes, mixed: Floats,
) -> None:  # fmt: skip
    """Convolve from the narrow side, as :func:`transform` writes it, to ``y``, the wide side.

    ``kernel`` is ``(Cy/4, Cx, products, k2, len(distances)/3, 4, 3)``. ``gate`` is a plane of cells that
    serves for all planes, ``(1, D3·row)``, or a volume like ``y``: where it is not positive, ``y`` becomes
    zero, and with ``relu`` also where ``y`` itself is not positive. ``totals (Cy,)`` receives the sum of
    each channel of ``y``. ``mixed (2, 4, D3·row)`` is scratch memory.
    """
    blocks, channels, products, k2, groups = kernel.shape[:5]
    r2, n, everywhere = k2 // 2, p.d3 * p.row, gate.shape[1] < y.shape[1]
    apart, mixes = p.d2 * p.length, axis.sides.max() > 1
    totals[:] = 0
    y[:, 2 * narrow_side.shape[1] * apart :] = 0
    for pair in range(narrow_side.shape[1]):
        for block in range(blocks):
            four = y[4 * block : 4 * block + 4]
            for j in range(p.d2):
                at = 2 * pair * apart + j * p.length + p.lead
                mixed[:] = 0
                for channel in range(4):
                    four[channel, at : at + n] = bias[4 * block + channel]
                    four[channel, at + apart : at + apart + n] = bias[4 * block + channel]
                for product in range(products):
                    y0, y1, y2, y3 = _four(four, at, apart, mixed, axis.sides[product])
                    for c in range(channels):
                        x = narrow_side[c, pair, product]
                        for t2 in range(max(r2 - j, 0), min(p.d2 + r2 - j, k2)):
                            start = (j + t2 - r2) * p.length + p.lead
                            for group in range(groups):
                                x0 = x[start + distances[3 * group] :]
                                x1 = x[start + distances[3 * group + 1] :]
                                x2 = x[start + distances[3 * group + 2] :]
                                factors = _factors(kernel[block, c, product, t2, group])
                                w00, w01, w02, w10, w11, w12, w20, w21, w22, w30, w31, w32 = factors
                                for cell in range(n):
                                    a, b, d = x0[cell], x1[cell], x2[cell]
                                    y0[cell] += w00 * a + w01 * b + w02 * d
                                    y1[cell] += w10 * a + w11 * b + w12 * d
                                    y2[cell] += w20 * a + w21 * b + w22 * d
                                    y3[cell] += w30 * a + w31 * b + w32 * d
                if mixes:
                    for channel in range(4):
                        one, other = four[channel, at : at + n], four[channel, at + apart : at + apart + n]
                        plus, minus = mixed[0, channel], mixed[1, channel]
                        for cell in range(n):
                            one[cell] += plus[cell] + minus[cell]
                            other[cell] += plus[cell] - minus[cell]
                for c in range(4 * block, 4 * block + 4):
                    for here in (at, at + apart):
                        y[c, here - p.lead : here] = 0
                        y[c, here + n : here - p.lead + p.length] = 0
                        seen = gate[0] if everywhere else gate[c, here:]
                        if here < p.d1 * apart:
                            totals[c] += _finish(y[c, here : here + n], seen, relu)
                        else:
                            y[c, here : here + n] = 0


@compiled
def narrow(
    x: Floats, kernel: Floats, distances: Whole, axis: AxisProducts, p: Planes, narrow_side: Floats,
    mixed: Floats,
) -> None:  # fmt: skip
    """The transpose of :func:`widen`: from the wide side ``x`` to the products that ``collect`` adds up.

    ``kernel`` is ``(Cx/4, Cy, products, k2/3 rounded up, len(distances), 4, 3)``: the three taps are along
    D2. ``narrow_side`` is ``(Cy, pairs of slices, products, D2 + 3·(k2/3 rounded up) - 1, D3·row)``: planes
    around those of D2 take what falls outside. ``mixed (2, 4, length + lead)`` is scratch memory.
    """
    blocks, channels, products, groups, taps = kernel.shape[:5]
    n, apart, mixes = p.d3 * p.row, p.d2 * p.length, axis.sides.max() > 1
    narrow_side[:] = 0
    for pair in range(narrow_side.shape[1]):
        for block in range(blocks):
            four = x[4 * block : 4 * block + 4]
            for j in range(p.d2):
                at = 2 * pair * apart + j * p.length
                if mixes:
                    _mix(four, at, apart, mixed)
                for product in range(products):
                    z0, z1, z2, z3 = _four(four, at, apart, mixed, axis.sides[product])
                    for c in range(channels):
                        for group in range(groups):
                            y0 = narrow_side[c, pair, product, j + 3 * group]
                            y1 = narrow_side[c, pair, product, j + 3 * group + 1]
                            y2 = narrow_side[c, pair, product, j + 3 * group + 2]
                            for tap in range(taps):
                                start = p.lead - distances[tap]
                                x0, x1, x2, x3 = z0[start:], z1[start:], z2[start:], z3[start:]
                                factors = _factors(kernel[block, c, product, group, tap])
                                w00, w01, w02, w10, w11, w12, w20, w21, w22, w30, w31, w32 = factors
                                for cell in range(n):
                                    a, b, d, e = x0[cell], x1[cell], x2[cell], x3[cell]
                                    y0[cell] += w00 * a + w10 * b + w20 * d + w30 * e
                                    y1[cell] += w01 * a + w11 * b + w21 * d + w31 * e
                                    y2[cell] += w02 * a + w12 * b + w22 * d + w32 * e


@compiled
def collect(
    narrow_side: Floats, axis: AxisProducts, r2: int, bias: Floats, gate: Floats, relu: bool,
    y: Floats, totals: Floats, p: Planes,
) -> None:  # fmt: skip
    """The transpose of :func:`transform`: add up the products of :func:`narrow` in ``y``.

    ``gate``, ``relu`` and ``totals`` are those of :func:`widen`.
    """
    channels, pairs, products = narrow_side.shape[:3]
    reached, n, everywhere = axis.narrow_side.shape[1], p.d3 * p.row, gate.shape[1] < y.shape[1]
    y[:] = 0
    totals[:] = 0
    for c in range(channels):
        for i in range(p.d1):
            for j in range(p.d2):
                at = (i * p.d2 + j) * p.length + p.lead
                plane = y[c, at : at + n]
                plane[:] = bias[c]
                for pair in range(pairs):
                    s = i + (reached - 2) // 2 - 2 * pair
                    if 0 <= s < reached:
                        for product in range(products):
                            factor = axis.narrow_side[product, s]
                            if factor != 0:
                                part = narrow_side[c, pair, product, j + r2]
                                for cell in range(n):
                                    plane[cell] += factor * part[cell]
                totals[c] += _finish(plane, gate[0] if everywhere else gate[c, at:], relu)


@compiled
def correlate(
    narrow_side: Floats, wide: Floats, distances: Whole, axis: AxisProducts, kernel: Floats, p: Planes,
    mixed: Floats,
) -> None:  # fmt: skip
    """Write the gradient of :func:`widen`'s ``kernel``; ``wide`` is the gradient of its ``y``.

    ``mixed (2, 4, D2·length)`` is scratch memory.
    """
    blocks, channels, products, k2, groups = kernel.shape[:5]
    r2, apart, mixes = k2 // 2, p.d2 * p.length, axis.sides.max() > 1
    zero = narrow_side.dtype.type(0)
    kernel[:] = 0
    for pair in range(narrow_side.shape[1]):
        for block in range(blocks):
            four = wide[4 * block : 4 * block + 4]
            if mixes:
                _mix(four, 2 * pair * apart, apart, mixed)
            for product in range(products):
                z0, z1, z2, z3 = _four(four, 2 * pair * apart, apart, mixed, axis.sides[product])
                for c in range(channels):
                    x = narrow_side[c, pair, product]
                    for t2 in range(max(r2 - p.d2 + 1, 0), min(p.d2 + r2, k2)):
                        first, last = max(r2 - t2, 0), min(p.d2 + r2 - t2, p.d2)
                        # All planes in one loop: the zeros between them add nothing.
                        cells = (last - first - 1) * p.length + p.d3 * p.row
                        at = first * p.length + p.lead
                        y0, y1, y2, y3 = z0[at:], z1[at:], z2[at:], z3[at:]
                        start = (first + t2 - r2) * p.length + p.lead
                        for group in range(groups):
                            x0 = x[start + distances[3 * group] :]
                            x1 = x[start + distances[3 * group + 1] :]
                            x2 = x[start + distances[3 * group + 2] :]
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
                            w = kernel[block, c, product, t2, group]
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
