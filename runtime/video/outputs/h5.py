"""``.h5`` in the format of hloc (github.com/cvg/Hierarchical-Localization), for use with COLMAP.

Keypoints are all of the network's cells in pixels, 0-based as in hloc; hloc adds COLMAP's half pixel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import UsageError
from dccnet.runtime.extras import required
from dccnet.runtime.file_names import as_parts
from dccnet.runtime.geometry import cell_pixels
from dccnet.runtime.video.outputs.sink import OutputFrame
from dccnet.runtime.video.references import frame_number


class H5Matches:
    """A group ``reference/frame`` for each pair, with ``matches0`` and ``matching_scores0``.

    A second file contains the keypoints.
    """

    reserve = 1 << 20

    def __init__(self, path: Path, features: Path) -> None:
        """Raises :class:`UsageError` where h5py is not installed."""
        with required(".h5", "h5", error=UsageError):
            import h5py
        self._matches, self._features = h5py.File(path, "w"), h5py.File(features, "w")
        self._names: dict[str, str] = {}  # of references, by their path

    def write(self, frame: OutputFrame) -> None:
        result, correspondences = frame.result, frame.result.correspondences
        number = frame_number(result.reference.name)
        name_a = self._picture_name(result.reference.name) if number is None else _frame_name(number)
        name_b = _frame_name(result.index)
        matches, scores = mutual_indices(correspondences)
        pair = self._matches.create_group(f"{name_a}/{name_b}")
        pair["matches0"], pair["matching_scores0"] = matches, scores
        cells = (
            (name_a, correspondences.index_a, correspondences.size_a),
            (name_b, correspondences.index_b, correspondences.size_b),
        )
        for name, index, size in cells:
            if name not in self._features:
                points = cell_pixels((index.shape[0], index.shape[1]), size).reshape(-1, 2)
                self._features.create_group(name)["keypoints"] = points.astype(np.float32)

    def _picture_name(self, path: str) -> str:
        """The file's name; of a second file of this name, its path with ``-`` for ``/``, as in hloc."""
        if path not in self._names:
            name = Path(path).name
            self._names[path] = "-".join(as_parts(path)) if name in self._names.values() else name
        return self._names[path]

    def close(self) -> None:
        self._matches.close()
        self._features.close()


def _frame_name(number: int) -> str:
    return f"frame-{number:06d}"


def mutual_indices(result: Correspondences) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Mutual matches as hloc stores them: for each cell of A, row-major, the cell of B and the score.

    Both are ``(n,)``. Where the other direction disagrees, or confidence is too low, the cell is -1 and the
    score 0; elsewhere the score is the lower of both directions.
    """
    mutual, scores = result.mutual_scores()
    if result.least_confidence is not None and result.confidence_a is not None:
        mutual &= result.confidence_a.ravel() >= result.least_confidence
    return np.where(mutual, result.index_a.ravel(), -1).astype(np.int32), np.where(
        mutual, scores, 0
    ).astype(np.float32)
