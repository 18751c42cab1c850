"""Comparison of an exported bundle with the network in PyTorch, on real pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from dccnet.export.bundles.ranges import report, run_widened
from dccnet.export.bundles.rounding import open_with_rounding
from dccnet.export.bundles.samples import neighbours
from dccnet.export.threads import one_thread_each
from dccnet.inference import TorchMatcher
from dccnet.network.model import DCCNet
from dccnet.runtime.agreement import criterion_for
from dccnet.runtime.arrays import Array
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.images import read_image
from dccnet.runtime.manifest import ENCODER, MATCHER, RangeReport, Verification
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.score_maps import ScoreMaps

MAX_PAIRS = 4
FARTHEST = 2.0
"""Largest difference in a channel of two vectors of unit length; recorded for values that are not
finite."""


class Expected:
    """What the network finds in PyTorch, computed once for each pair of pictures."""

    def __init__(self, model: DCCNet, refine: bool) -> None:
        """``model`` is in float32; ``refine``: with fine features."""
        self._matcher = TorchMatcher(model, refine=refine)
        self._found: dict[tuple[Path, Path], Correspondences] = {}

    def matches(self, pairs: Sequence[tuple[Path, Path]]) -> Iterator[Correspondences]:
        """Matches of each pair, with heat maps. Raises :class:`ImageError`."""
        new = list(dict.fromkeys(path for pair in pairs if pair not in self._found for path in pair))
        encoded = one_thread_each(self._matcher.encode, map(read_image, new))
        features = dict(zip(new, encoded, strict=True))
        for a, b in pairs:
            if (a, b) not in self._found:
                found = self._matcher.match_encoded(features[a], features[b], heatmaps=True)
                self._found[a, b] = found
            yield self._found[a, b]

    def compute(self, pictures: Sequence[Path]) -> None:
        """Do now what :func:`verify` needs of these pictures."""
        for _ in self.matches(_pairs(pictures)):
            pass


def _pairs(pictures: Sequence[Path]) -> list[tuple[Path, Path]]:
    """The pairs that are compared."""
    return neighbours(pictures)[:MAX_PAIRS]


def verify(
    model: DCCNet,
    bundle: Bundle,
    pictures: Sequence[Path],
    on_pair: Callable[[], None] = lambda: None,
    expected: Expected | None = None,
) -> Verification:
    """Match neighbouring pictures with ONNX Runtime and with PyTorch, and compare every match.

    ``model`` is the network in float32, ``pictures`` at least two files. For a bundle in half precision,
    the magnitudes of all float16 tensors are measured as well. ``on_pair`` is called after each pair.
    ``expected``, of this network, keeps what PyTorch finds for another call. Raises :class:`ImageError`
    for a picture that cannot be read.
    """
    expected = expected or Expected(model, bundle.manifest.fine is not None)
    pairs = _pairs(pictures)
    criterion = criterion_for(bundle.manifest.precision, bundle.manifest.model.get("fusion"))
    ranges = None if bundle.manifest.precision == "float32" else _measure_ranges(bundle, pairs)
    agreement = _AgreementCounter(criterion.margin)
    if ranges is None or ranges.headroom > 1:  # after an overflow there are no matches to compare
        exported = (
            Matcher.open(bundle, backend="onnxruntime", device="cpu")
            if ranges is None
            else open_with_rounding(bundle)
        )
        pictures_of_pairs = dict.fromkeys(path for pair in pairs for path in pair)
        images = {path: read_image(path) for path in pictures_of_pairs}
        features = {path: exported.encode(image) for path, image in images.items()}
        for (a, b), true in zip(pairs, expected.matches(pairs), strict=True):
            agreement.add(exported.match(features[a], features[b]), true)
            on_pair()
    return Verification(
        passed=agreement.identical_cells >= criterion.identical_cells
        and agreement.largest_score_difference <= criterion.score_difference
        and agreement.largest_fine_difference <= criterion.fine_difference
        and agreement.distinct_cells > 1
        and (ranges is None or ranges.sufficient),
        pairs=len(pairs),
        margin=criterion.margin,
        counted_cells=agreement.counted_cells,
        identical_cells=agreement.identical_cells,
        required_identical_cells=criterion.identical_cells,
        distinct_cells=agreement.distinct_cells,
        largest_score_difference=agreement.largest_score_difference,
        allowed_score_difference=criterion.score_difference,
        largest_fine_difference=None if bundle.manifest.fine is None else agreement.largest_fine_difference,
        allowed_fine_difference=None if bundle.manifest.fine is None else criterion.fine_difference,
        pictures=tuple(dict.fromkeys(path.name for pair in pairs for path in pair)),
        ranges=ranges,
    )


class _AgreementCounter:
    """Agreement over any number of pairs."""

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._cells = self._counted = self._identical = 0
        self.distinct_cells = 0
        self.largest_score_difference = 0.0
        self.largest_fine_difference = 0.0

    def add(self, found: Correspondences, true: Correspondences) -> None:
        assert true.heatmap_a is not None and true.heatmap_b is not None
        for found_index, index, heatmap in (
            (found.index_a, true.index_a, true.heatmap_a),
            (found.index_b, true.index_b, true.heatmap_b),
        ):
            counts = lead(heatmap) >= self._margin
            self._cells += index.size
            self._counted += int(counts.sum())
            self._identical += int((counts & (found_index == index)).sum())
            self.distinct_cells = max(self.distinct_cells, len(np.unique(index)))
        for found_index, index, found_window, window in (
            (found.index_a, true.index_a, found.window_a, true.window_a),
            (found.index_b, true.index_b, found.window_b, true.window_b),
        ):
            if found_window is not None and window is not None:  # windows around the same cells
                difference = np.abs(found_window - window)[found_index == index]
                self.largest_score_difference = max(
                    self.largest_score_difference, float(difference.max(initial=0))
                )
        for found_score, score in zip(_scores(found), _scores(true), strict=True):
            if found_score is not None and score is not None:  # None: the bundle does not return it
                difference = float(np.abs(found_score - score).max())
                self.largest_score_difference = max(self.largest_score_difference, difference)

        for found_fine, fine in ((found.fine_a, true.fine_a), (found.fine_b, true.fine_b)):
            if found_fine is not None and fine is not None:
                difference = np.abs(found_fine.cells_last() - fine.cells_last())
                largest = float(np.nan_to_num(difference, nan=FARTHEST, posinf=FARTHEST).max())
                self.largest_fine_difference = max(self.largest_fine_difference, largest)

    @property
    def counted_cells(self) -> float:
        return self._counted / max(self._cells, 1)

    @property
    def identical_cells(self) -> float:
        """Share of the counted cells whose best match is identical; 0 if none is counted, which proves
        nothing."""
        return self._identical / max(self._counted, 1)


def _scores(result: Correspondences) -> list[NDArray[np.float32] | None]:
    """All outputs that are probabilities; None for those that the result does not have."""
    maps = [getattr(result.maps, field.name, None) for field in dataclasses.fields(ScoreMaps)]
    return [result.score_a, result.score_b, result.heatmap_a, result.heatmap_b, *maps]


def lead(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(h, w, h', w')`` scores -> ``(h, w)``: the lead of the best over the second best, divided by the
    best."""
    second, best = np.moveaxis(np.partition(heatmap.reshape(*heatmap.shape[:2], -1), -2)[..., -2:], -1, 0)
    share: NDArray[np.float32] = (best - second) / best
    return share


def _measure_ranges(bundle: Bundle, pairs: Sequence[tuple[Path, Path]]) -> RangeReport:
    def frame(path: Path) -> Array:
        return bundle.manifest.frames.of(read_image(path))

    models = {name: onnx.load(str(bundle.graph_path(name))) for name in (ENCODER, MATCHER)}
    return report(run_widened(models, ((frame(a), frame(b)) for a, b in pairs)))
