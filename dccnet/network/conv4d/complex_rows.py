"""The loops of ``complex_spectra.py`` over the last transformed axis: to frequencies, products, and back.

A *row* is what belongs to one frequency of each of the axes transformed before. Its spectrum is computed,
multiplied and transformed back while it is in a core's cache, and never written to memory. Rows are
``(re/im, n, C, cells)``; filters, and their gradients, ``(frequencies, re/im, Cout, ·)`` of the row
(``complex_kernels.py``). Numba compiles the loops when they are first called.
"""

from __future__ import annotations

import numpy as np

from dccnet.network.conv4d.compiled import compiled
from dccnet.network.conv4d.complex_kernels import (
    Floats,
    convolve,
    correlate,
    scratch_rows,
    scratch_sums,
)
from dccnet.network.conv4d.transform_kernels import backward, forward, pieces
from dccnet.network.conv4d.waves import Waves


@compiled
def _to_frequencies(x: Floats, w: Waves, spectrum: Floats) -> None:
    """``x (re/im, n, C, cells)`` -> ``spectrum (frequencies, re/im, C, cells)``."""
    parts, n, channels, cells = x.shape
    numbers = channels * cells
    y = spectrum.reshape(1, len(spectrum), 2, numbers)
    forward(x.reshape(1, parts, n, numbers), w, y, 0, pieces(numbers))


@compiled
def _to_cells(spectrum: Floats, w: Waves, x: Floats) -> None:
    """The inverse of :func:`_to_frequencies`."""
    parts, n, channels, cells = x.shape
    numbers = channels * cells
    y = spectrum.reshape(1, len(spectrum), 2, numbers)
    backward(y, w, x.reshape(1, parts, n, numbers), 0, pieces(numbers))


@compiled
def filter_rows(
    x: Floats, w: Waves, filters: Floats, taps: int, constant: Floats, y: Floats, first: int, last: int
) -> None:
    """Write the rows ``y`` of the filtered rows ``x``, from ``first`` to ``last``, which is not included.

    ``constant (Cout,)`` is added at frequency zero of all axes, which is that of the first row.
    """
    frequencies, cells = filters.shape[1], x.shape[4]
    seen = np.empty((frequencies, 2, x.shape[3], cells), x.dtype)
    made = np.empty((frequencies, 2, y.shape[3], cells), x.dtype)
    rows, sums = scratch_rows(x), scratch_sums(y.shape[3], x)
    for row in range(first, last):
        _to_frequencies(x[row], w, seen)
        for f in range(frequencies):
            convolve(seen[f], filters[row, f], taps, False, made[f], rows, sums)
        if row == 0:
            for channel in range(len(constant)):
                for j in range(cells):
                    made[0, 0, channel, j] += constant[channel]
        _to_cells(made, w, y[row])


@compiled
def backward_rows(
    x: Floats,
    g: Floats,
    w: Waves,
    filters: Floats,
    taps: int,
    of_filters: Floats,
    y: Floats,
    first: int,
    last: int,
) -> None:
    """Add to the gradients of filters, and write the rows ``y`` of the gradient of the input.

    ``x`` are rows of the input, ``g`` of the gradient of the output. Without any row in ``y``, the gradient
    of the input is not computed.
    """
    frequencies, cells = filters.shape[1], x.shape[4]
    channels, outputs = x.shape[3], g.shape[3]
    seen = np.empty((frequencies, 2, channels, cells), x.dtype)
    above = np.empty((frequencies, 2, outputs, cells), x.dtype)
    rows, others, sums = scratch_rows(x), scratch_rows(x), scratch_sums(max(channels, outputs), x)
    for row in range(first, last):
        _to_frequencies(x[row], w, seen)
        _to_frequencies(g[row], w, above)
        for f in range(frequencies):
            correlate(seen[f], above[f], taps, of_filters[row, f], rows, sums)
            if len(y):
                convolve(above[f], filters[row, f], taps, True, seen[f], others, sums)
        if len(y):
            _to_cells(seen, w, y[row])
