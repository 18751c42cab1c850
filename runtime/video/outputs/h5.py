"""``.h5`` as hloc writes and reads it (github.com/cvg/Hierarchical-Localization), on the way to COLMAP.

Keypoints are the network's cells in pixels, 0-based as hloc keeps them; hloc adds COLMAP's half pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import UsageError
from dccnet.runtime.video.outputs.sink import Shown
from dccnet.runtime.video.references import frame_number


class H5Matches:
    """Pairs ``reference/frame`` with ``matches0`` and ``matching_scores0``; keypoints in a second file."""

    reserve = 1 << 20

    def __init__(self, path: Path, features: Path) -> None:
        """Raises :class:`UsageError` where h5py is not installed."""
        h5py = _h5py()
        self._matches, self._features = h5py.File(path, "w"), h5py.File(features, "w")

    def write(self, shown: Shown) -> None:
        result, found = shown.result, shown.result.correspondences
        number = frame_number(result.reference.name)
        name_a = Path(result.reference.name).name if number is None else _frame_name(number)
        name_b = _frame_name(result.index)
        matches, scores = mutual_indices(found)
        pair = self._matches.create_group(f"{name_a}/{name_b}")
        pair["matches0"], pair["matching_scores0"] = matches, scores
        for name, points in ((name_a, found.matches("a").points_a), (name_b, found.matches("b").points_b)):
            if name not in self._features:
                self._features.create_group(name)["keypoints"] = points.astype(np.float32)

    def close(self) -> None:
        self._matches.close()
        self._features.close()


def _frame_name(number: int) -> str:
    return f"frame-{number:06d}"


def mutual_indices(found: Correspondences) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """``(n,)``: the cell of B for each cell of A, row-major, -1 where the other direction disagrees; and
    the lower of the two scores, 0 there."""
    forward, back = found.index_a.ravel(), found.index_b.ravel()
    mutual = back[forward] == np.arange(forward.size)
    scores = np.minimum(found.score_a.ravel(), found.score_b.ravel()[forward])
    return np.where(mutual, forward, -1).astype(np.int32), np.where(mutual, scores, 0).astype(np.float32)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise UsageError(".h5 needs h5py: pip install 'dccnet[h5]'") from None
    return h5py
