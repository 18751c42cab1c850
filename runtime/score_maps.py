"""What fused scores were made from: the scores of either branch alone, and the attention between them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Array
from dccnet.runtime.geometry import Size


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMaps:
    """Of one pair, from a bundle exported with ``--maps``. Named as the matcher's outputs.

    Heat maps are laid out as ``Correspondences.heatmap_a`` and ``heatmap_b``; each cell's
    scores sum to 1.
    """

    heatmap_local_a: NDArray[np.float32]  # (hA, wA, hB, wB)
    heatmap_local_b: NDArray[np.float32]  # (hB, wB, hA, wA)
    heatmap_context_a: NDArray[np.float32]  # (hA, wA, hB, wB)
    heatmap_context_b: NDArray[np.float32]  # (hB, wB, hA, wA)
    attention_a: NDArray[np.float32] | None = None
    """``(2, hA, wA)``: how much each cell of A trusts local and context; they sum to 1 (Eq. 13, 14).
    None for a network that averages."""
    attention_b: NDArray[np.float32] | None = None
    """``(2, hB, wB)``."""


def take_maps(outputs: dict[str, Array], grid: Size) -> ScoreMaps | None:
    """Move the maps out of a matcher's ``outputs``, each without its batch; None if it has none."""
    names = [field.name for field in dataclasses.fields(ScoreMaps) if field.name in outputs]
    if not names:
        return None
    arrays = {name: outputs.pop(name) for name in names}
    shapes = {name: (2, *grid) if name.startswith("attention") else (*grid, *grid) for name in names}
    return ScoreMaps(**{name: array.reshape(shapes[name]) for name, array in arrays.items()})
