"""The loops of ``complex_spectra.py`` over the last transformed axis: to frequencies, products, and back.

A *row* is what belongs to one frequency of each of the axes transformed before. Its spectrum is computed,
multiplied and transformed back while it is in a core's cache, and never written to memory. Rows are
``(re/im, n, C·cells)``; filters, and their gradients, ``(frequencies, re/im, Cout, ·)`` for each row
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
def filter_rows(
    x: Floats, w: Waves, filters: Floats, taps: int, constant: Floats, y: Floats, first: int, last: int
) -> None:
    """Write the rows ``y`` of the filtered rows ``x``, from ``first`` to ``last``, which is not included.

    ``constant (Cout,)`` is added at frequency zero of all axes, which is that of the first row.
    """
    frequencies, outputs = filters.shape[1], len(constant)
    cells = y.shape[3] // outputs
    channels = x.shape[3] // cells
    seen = np.empty((frequencies, 2, channels, cells), x.dtype)
    made = np.empty((frequencies, 2, outputs, cells), x.dtype)
    spectrum = seen.reshape(1, frequencies, 2, channels * cells)
    result = made.reshape(1, frequencies, 2, outputs * cells)
    rows, sums = scratch_rows(x), scratch_sums(outputs, x)
    for row in range(first, last):
        forward(x[row : row + 1], w, spectrum, 0, pieces(x.shape[3]))
        for f in range(frequencies):
            convolve(seen[f], filters[row, f], taps, False, made[f], rows, sums)
        if row == 0:
            for channel in range(outputs):
                for j in range(cells):
                    made[0, 0, channel, j] += constant[channel]
        backward(result, w, y[row : row + 1], 0, pieces(y.shape[3]))


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
    frequencies, outputs = of_filters.shape[1], of_filters.shape[3]
    cells = g.shape[3] // outputs
    channels = x.shape[3] // cells
    seen = np.empty((frequencies, 2, channels, cells), x.dtype)
    above = np.empty((frequencies, 2, outputs, cells), x.dtype)
    spectrum = seen.reshape(1, frequencies, 2, channels * cells)
    both = ((x, spectrum), (g, above.reshape(1, frequencies, 2, outputs * cells)))
    rows, others, sums = scratch_rows(x), scratch_rows(x), scratch_sums(max(channels, outputs), x)
    for row in range(first, last):
        for source, target in both:
            forward(source[row : row + 1], w, target, 0, pieces(source.shape[3]))
        for f in range(frequencies):
            correlate(seen[f], above[f], taps, of_filters[row, f], rows, sums)
            if len(y):
                convolve(above[f], filters[row, f], taps, True, seen[f], others, sums)
        if len(y):
            backward(spectrum, w, y[row : row + 1], 0, pieces(y.shape[3]))
