"""Cosines and sines that transform an axis whose positions are counted from its middle.

Sums of mirrored cells meet cosines alone, and their differences sines alone, which frequencies f and -f
share: a quarter of the multiplications of a matrix of complex numbers (``transform_kernels.py``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
ROWS = 7
"""Cosines that the loops multiply at a time, for two frequencies."""


class Waves(NamedTuple):
    """Cosines and sines of an axis, filled up with zeros to even numbers of rows and multiples of
    :data:`ROWS` columns."""

    cosines: Floats
    """``(frequencies from 0 to half, distances from the middle)``."""
    sines: Floats
    back_cosines: Floats
    """Transposed, and times the share of each frequency."""
    back_sines: Floats


@lru_cache(maxsize=256)
def waves(cells: int, length: int, scale: float, first: bool, dtype: str) -> Waves:
    """The waves of an :class:`~dccnet.network.conv4d.fourier.AxisTransform`."""
    frequencies = np.arange(length // 2 + 1)
    distances = np.arange((cells + 1) // 2) + (0 if cells % 2 else 0.5)
    angles = 2 * np.pi * np.outer(frequencies, distances) / length
    shares = np.full(len(frequencies), 1 / (length * scale))
    if first:
        shares[1 : (length + 1) // 2] *= 2  # each stands for its conjugate as well
    cosines, sines = np.cos(angles), np.sin(angles)
    back = (shares[:, None] * cosines).T, (shares[:, None] * sines).T
    if cells % 2:
        cosines[:, 0] /= 2  # the cell in the middle is its own mirror image
    return Waves(*(_filled(m).astype(dtype, order="C") for m in (scale * cosines, scale * sines, *back)))


def _filled(m: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.pad(m, [(0, len(m) % 2), (0, -m.shape[1] % ROWS)])
