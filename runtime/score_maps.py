"""The scores of each branch alone and the attention, from which the network fuses its scores."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Array
from dccnet.runtime.geometry import Size
from dccnet.runtime.one_line import OneLine


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ScoreMaps(OneLine):
    """Score maps of one pair, from a bundle exported with ``--maps``; named as the matcher's outputs.

    Heat maps have the layout of ``Correspondences.heatmap_a`` and ``heatmap_b``; each cell's scores sum
    to 1.
    """

    heatmap_local_a: NDArray[np.float32]  # (hA, wA, hB, wB)
    heatmap_local_b: NDArray[np.float32]  # (hB, wB, hA, wA)
    heatmap_context_a: NDArray[np.float32]  # (hA, wA, hB, wB)
    heatmap_context_b: NDArray[np.float32]  # (hB, wB, hA, wA)
    attention_a: NDArray[np.float32] | None = None
    """``(2, hA, wA)``: weights of the local and the context branch for each cell of A; they sum to 1
    (Eq. 13, 14). None for a network that averages or multiplies the branches."""
    attention_b: NDArray[np.float32] | None = None
    """``(2, hB, wB)``."""


def take_maps(outputs: dict[str, Array], grid: Size) -> ScoreMaps | None:
    """Remove the score maps from a matcher's ``outputs`` and return them; None if there are none."""
    names = [field.name for field in dataclasses.fields(ScoreMaps) if field.name in outputs]
    if not names:
        return None
    arrays = {name: outputs.pop(name) for name in names}
    shapes = {name: (2, *grid) if name.startswith("attention") else (*grid, *grid) for name in names}
    return ScoreMaps(**{name: array.reshape(shapes[name]) for name, array in arrays.items()})
