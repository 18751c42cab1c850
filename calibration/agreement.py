"""The cost of changing a network: its matches on pictures, compared with those before the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dccnet.calibration.frames import Frame, sample_frames, spread
from dccnet.evaluation.pairs import Pair, read_pairs
from dccnet.evaluation.pck import DESCRIPTIONS, carry_keypoints, pair_pck
from dccnet.export.bundles.samples import neighbours
from dccnet.runtime.arrays import Image, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError
from dccnet.runtime.geometry import Size, index_pixels
from dccnet.runtime.manifest import Agreement
from dccnet.runtime.matcher import Matcher

ALPHA = 0.1
PROTOCOL = f"PCK@{ALPHA:g}, {DESCRIPTIONS['bbox']}"


@dataclass(frozen=True, slots=True, eq=False)
class TestPair:
    """Two pictures to match, with keypoints or without."""

    a: Image
    b: Image
    points_a: Points | None = None
    points_b: Points | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Best matches of a network on one pair."""

    index_a: NDArray[np.int64]
    """``(h, w)``: for each cell of A, the flat index of its best match in B."""
    index_b: NDArray[np.int64]
    """The same for the cells of B."""
    pck: float | None
    """In [0, 1]; None without keypoints."""


@dataclass(frozen=True, slots=True, eq=False)
class AgreementTest:
    """Pairs of pictures, and the predictions of the unchanged network for them."""

    pairs: Sequence[TestPair]
    reference: Sequence[Prediction]

    @classmethod
    def prepare(cls, matcher: Matcher, pairs: Sequence[TestPair]) -> AgreementTest:
        """The test whose reference is ``matcher``."""
        return cls(pairs, predict(matcher, pairs))

    def measure(self, matcher: Matcher) -> Agreement:
        """The agreement of another network, or of the changed one, with the reference.

        Raises :class:`DccError` for a network with another grid, whose cells are not comparable.
        """
        grid = self.reference[0].index_a.shape
        if matcher.manifest.grid != grid:
            (h, w), (rows, columns) = matcher.manifest.grid, grid
            raise DccError(f"its grid is {h}x{w} cells, not {rows}x{columns}: matches are not comparable")
        return compare(predict(matcher, self.pairs), self.reference, matcher.manifest.image_size)


def predict(matcher: Matcher, pairs: Sequence[TestPair]) -> list[Prediction]:
    """Predictions for all ``pairs``; a picture that occurs in several pairs is encoded once."""
    results = matcher.match_many((pair.a, pair.b) for pair in pairs)
    return [_prediction(pair, result) for pair, result in zip(pairs, results, strict=True)]


def compare(predictions: Sequence[Prediction], reference: Sequence[Prediction], size: Size) -> Agreement:
    """Agreement of ``predictions`` with ``reference``, pair by pair.

    ``size`` is (height, width) of the network's frames, in whose pixels displacement is measured.
    """
    changed, moved = [], []
    for prediction, true in zip(predictions, reference, strict=True):
        grid: Size = (true.index_a.shape[0], true.index_a.shape[1])
        for index, before in ((prediction.index_a, true.index_a), (prediction.index_b, true.index_b)):
            shift = index_pixels(index, grid, size) - index_pixels(before, grid, size)
            changed.append(float((index != before).mean()))
            moved.append(float(np.linalg.norm(shift, axis=-1).mean()))
    return Agreement(
        pairs=len(reference),
        changed_cells=float(np.mean(changed)),
        displacement=float(np.mean(moved)),
        pck=_mean_pck(predictions),
        reference_pck=_mean_pck(reference),
    )


def describe_agreement(agreement: Agreement) -> str:
    """What was measured, for people to read."""
    text = (
        f"on {agreement.pairs} pairs {agreement.changed_cells:.1%} of the best matches have changed, and "
        f"all best matches have moved by {agreement.displacement:.2f} pixels on average"
    )
    if agreement.pck is not None and agreement.reference_pck is not None:
        text += f"; PCK {agreement.pck:.2f}, before {agreement.reference_pck:.2f}"
    return text


def cost(agreement: Agreement) -> float:
    """The quantity that budgets limit: lost points of PCK with keypoints, else % of changed matches."""
    if agreement.pck is not None and agreement.reference_pck is not None:
        return agreement.reference_pck - agreement.pck
    return 100 * agreement.changed_cells


def unit(agreement: Agreement) -> str:
    """The unit of :func:`cost`."""
    return "points of PCK" if agreement.pck is not None else "% of changed matches"


def pairs_from_list(path: Path, limit: int) -> list[TestPair]:
    """Up to ``limit`` pairs of a list, evenly spread over it."""
    pairs = read_pairs(path)
    chosen = [pairs[place] for place in spread(len(pairs), limit)]
    images = {p.key: p for pair in chosen for p in (pair.source, pair.target)}
    loaded = {key: picture.load() for key, picture in images.items()}
    return [_test_pair(pair, loaded) for pair in chosen]


def pairs_from_frames(frames: Sequence[Frame], limit: int) -> list[TestPair]:
    """Up to ``limit`` pairs of neighbouring frames, the last with the first; none for fewer than two."""
    pixels = [frame.pixels for frame in frames[: limit + 1]]
    if len(pixels) < 2:
        return []
    return [TestPair(a, b) for a, b in neighbours(pixels)][:limit]


def find_pairs(check: str, limit: int, size: Size) -> list[TestPair]:
    """Pairs of a ``.csv`` list, or neighbouring frames of a folder, glob, ``.txt`` list or video."""
    if check.lower().endswith(".csv"):
        return pairs_from_list(Path(check), limit)
    return pairs_from_frames(sample_frames(check, limit + 1, size).chosen, limit)


def _test_pair(pair: Pair, loaded: dict[str, Image]) -> TestPair:
    return TestPair(
        loaded[pair.source.key], loaded[pair.target.key], pair.source_points, pair.target_points
    )


def _prediction(pair: TestPair, result: Correspondences) -> Prediction:
    pck = None
    if pair.points_a is not None and pair.points_b is not None:
        carried = carry_keypoints(result, pair.points_b, "bbox")
        pck = pair_pck(carried, pair.points_a, result.size_a, ALPHA, "bbox")
    return Prediction(result.index_a, result.index_b, pck)


def _mean_pck(predictions: Sequence[Prediction]) -> float | None:
    scores = [prediction.pck for prediction in predictions if prediction.pck is not None]
    return 100 * float(np.mean(scores)) if scores else None
