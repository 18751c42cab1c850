"""Confidence: a probability for each match, in results, files and drawings, and in the manifest."""

from __future__ import annotations

import csv
import dataclasses
import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.runtime.arrays import Image
from dccnet.runtime.confidence import FEATURES, ConfidenceModel, FitQuality, probability
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ArgumentError, UsageError
from dccnet.runtime.evidence import Direction, match_evidence
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import open_bundle
from dccnet.runtime.video.outputs.h5 import H5Matches, mutual_indices
from dccnet.runtime.video.propagation.maps import SmoothMaps
from dccnet.runtime.video.propagation.settings import Propagation
from dccnet.runtime.video.stages import agreement
from dccnet.runtime.writers import UNKNOWN_FLOW

FIRST = ConfidenceModel(
    within=0.1,
    intercept=3.0,
    weights={"score": 0.2, "return": 0.5, "spread": 1.0, "smoothness": 1.0, "mutual": 0.3},
    truth="keypoints",
    fitted_on=("list.csv",),
    pairs=10,
    points=100,
    right=0.8,
    quality=FitQuality(5, 0.85, 0.03),
    version=1,
)
"""As bundles of earlier versions have it."""
SECOND = dataclasses.replace(FIRST, weights={"support": 3.0, "deviation": 1.0}, intercept=0.5, version=2)
MODEL = dataclasses.replace(SECOND, weights=SECOND.weights | {"overall": 2.0}, intercept=-1.0, version=3)


def random_result(seed: int, grid: tuple[int, int] = (5, 6)) -> Correspondences:
    rng = np.random.default_rng(seed)
    cells = grid[0] * grid[1]
    score_a, score_b = rng.random((2, *grid), dtype=np.float32)
    windows = rng.random((2, *grid, 25), dtype=np.float32) * np.stack([score_a, score_b])[..., None]
    windows[..., 12] = score_a, score_b
    return Correspondences(
        size_a=(60, 80),
        size_b=(90, 70),
        index_a=rng.integers(0, cells, grid),
        score_a=score_a,
        index_b=rng.integers(0, cells, grid),
        score_b=score_b,
        window_a=windows[0],
        window_b=windows[1],
        confidence_model=MODEL,
    )


@given(st.integers(0, 10_000), st.sampled_from([(5, 6), (1, 6), (5, 1), (1, 1), (2, 2)]))
@settings(max_examples=40, deadline=None)
def test_it_is_a_probability_for_every_cell_and_point(seed: int, grid: tuple[int, int]) -> None:
    result = random_result(seed, grid)
    points = np.random.default_rng(seed).uniform(0, [79, 59], (9, 2))
    found = [result.confidence_a, result.confidence_b, result.transfer_confidence(points, "a")]
    shapes = [grid, grid, (9,)]
    for confidence, shape in zip([*found, result.confidence_map("b")], [*shapes, (90, 70)], strict=True):
        assert confidence is not None
        assert confidence.shape == shape and confidence.dtype == np.float32
        assert ((confidence >= 0) & (confidence <= 1)).all()  # and so no NaN


@given(st.integers(0, 10_000), st.integers(0, 29), st.floats(1.0, 100.0))
@settings(max_examples=30, deadline=None)
def test_in_the_first_version_a_higher_score_alone_never_lowers_it(
    seed: int, cell: int, factor: float
) -> None:
    result = dataclasses.replace(random_result(seed), confidence_model=FIRST)
    scores = result.score_a.copy()
    scores.flat[cell] *= factor
    raised = dataclasses.replace(result, score_a=scores)
    before, after = result.confidence_a, raised.confidence_a
    assert before is not None and after is not None
    assert after.flat[cell] >= before.flat[cell]
    np.testing.assert_array_equal(np.delete(after, cell), np.delete(before, cell))


@given(st.lists(st.floats(-200, 200), min_size=2, max_size=20))
def test_probabilities_keep_the_order_of_the_odds(odds: list[float]) -> None:
    values = probability(np.sort(np.array(odds)))
    assert (np.diff(values) >= 0).all() and np.isfinite(values).all()
    np.testing.assert_allclose(values, 1 / (1 + np.exp(-np.sort(odds))), atol=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_point_on_a_cell_has_that_cells_and_others_lie_between_four(seed: int) -> None:
    result = random_result(seed)
    cells = result.matches("a")
    confidence = result.confidence_a
    assert confidence is not None and cells.confidence is not None
    np.testing.assert_array_equal(cells.confidence, confidence.ravel())
    at_cells = result.transfer_confidence(cells.points_a, "a")
    assert at_cells is not None
    np.testing.assert_allclose(at_cells, cells.confidence, rtol=1e-5)
    between = result.transfer_confidence([[79 / 5 * 1.3, 59 / 4 * 2.6]], "a")
    assert between is not None
    around = confidence[2:4, 1:3]
    assert around.min() <= between[0] <= around.max()


def identity_directions(grid: tuple[int, int], mirrored: bool = False) -> tuple[Direction, Direction]:
    index = np.arange(grid[0] * grid[1]).reshape(grid)
    index = index[:, ::-1] if mirrored else index
    window = np.zeros((*grid, 25), np.float32)
    window[..., 12] = 0.5
    direction = Direction(index.copy(), np.full(grid, 0.5, np.float32), window)
    return direction, direction


@pytest.mark.parametrize("mirrored", [False, True])
def test_perfect_matches_have_the_best_evidence_also_where_things_are_mirrored(mirrored: bool) -> None:
    score, *others = np.moveaxis(match_evidence(*identity_directions((4, 6), mirrored)), -1, 0)
    np.testing.assert_allclose(score, np.log(0.5))
    for values, best in zip(others, (0, 0, 0, 1, 1, 0, 1), strict=True):
        np.testing.assert_allclose(values, best, atol=1e-6)


def test_a_match_that_leaves_its_neighbours_is_less_smooth_and_does_not_return() -> None:
    own, other = identity_directions((6, 6))
    own.index[2, 3] = 35
    found = dict(zip(FEATURES, np.moveaxis(match_evidence(own, other), -1, 0), strict=True))
    for name in ("return", "smoothness", "support", "deviation"):
        assert found[name].argmin() == 2 * 6 + 3, name
    assert found["mutual"][0, 0] == pytest.approx(35 / 36)


def test_without_a_model_or_windows_there_is_none() -> None:
    result = random_result(1)
    bare = dataclasses.replace(result, confidence_model=None)
    old = dataclasses.replace(result, window_a=None, window_b=None)
    for without in (bare, old):
        assert without.confidence_a is without.confidence_b is None
        assert without.confidence_map() is None and without.transfer_confidence([[1, 1]], "a") is None
        assert without.matches().confidence is without.mutual().confidence is None
        assert "confidence" not in without.to_dict()["a_to_b"]
        with pytest.raises(ArgumentError, match="no confidence: fit it to the bundle with dcc confidence"):
            without.at_least(0.5)


def test_at_least_leaves_out_matches_everywhere(tmp_path: Path) -> None:
    result = random_result(8)
    every = result.matches("a")
    assert every.confidence is not None
    least = float(np.median(every.confidence))
    chosen = result.at_least(least)
    kept = every.confidence >= least
    np.testing.assert_array_equal(chosen.matches("a").points_b, every.points_b[kept])
    mutual = chosen.mutual()
    assert mutual.confidence is not None and (mutual.confidence >= least).all()
    assert len(mutual) < len(result.mutual())
    indices, _ = mutual_indices(chosen)
    assert (indices >= 0).sum() == len(mutual)
    for suffix in (".json", ".csv", ".npz", ".flo"):
        chosen.save(tmp_path / f"x{suffix}")
    lists = json.loads((tmp_path / "x.json").read_text())["a_to_b"]
    np.testing.assert_allclose(lists["confidence"], every.confidence[kept], atol=1e-4)
    rows = list(csv.DictReader((tmp_path / "x.csv").open()))
    assert len(rows) == len(chosen.matches("a")) + len(chosen.matches("b"))
    assert min(float(row["confidence"]) for row in rows) >= least - 1e-4
    with np.load(tmp_path / "x.npz") as arrays:
        np.testing.assert_array_equal(arrays["confidence_a"], result.confidence_a)
        assert len(arrays["points_a_from_a"]) == kept.sum()
    flow = np.frombuffer((tmp_path / "x.flo").read_bytes()[12:], "<f4").reshape(60, 80, 2)
    shown = result.confidence_map("a")
    assert shown is not None
    np.testing.assert_array_equal(flow[..., 0] == np.float32(UNKNOWN_FLOW), shown < least)
    points = np.array([[3.0, 4.0], [50.0, 40.0]])
    np.testing.assert_array_equal(chosen.transfer(points, "a"), result.transfer(points, "a"))


def test_numbers_of_keypoints_in_h5_count_cells_of_little_confidence_too(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    every = random_result(8)
    assert every.confidence_a is not None
    chosen = every.at_least(float(np.median(every.confidence_a)))
    wanted = chosen.mutual("cells")
    assert len(wanted) == 1 and len(every.mutual()) == 2
    result = SimpleNamespace(reference=SimpleNamespace(name="a.png"), index=0, correspondences=chosen)
    sink = H5Matches(tmp_path / "a.h5", tmp_path / "features.h5")
    sink.write(cast(Any, SimpleNamespace(result=result)))
    sink.close()
    with h5py.File(tmp_path / "a.h5") as matches, h5py.File(tmp_path / "features.h5") as features:
        matched = matches["a.png/frame-000000/matches0"][:]
        keypoints_a = features["a.png/keypoints"][:]
        keypoints_b = features["frame-000000/keypoints"][:]
    cells = matched >= 0
    np.testing.assert_allclose(keypoints_a[cells], wanted.points_a, rtol=1e-6)
    np.testing.assert_allclose(keypoints_b[matched[cells]], wanted.points_b, rtol=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_confidence_is_from_0_to_1(value: float) -> None:
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        random_result(0).at_least(value)
    with pytest.raises(UsageError, match="from 0 to 1"):
        Propagation(min_confidence=value)


def test_carried_points_are_visible_by_their_confidence() -> None:
    result = random_result(4)
    points = np.random.default_rng(0).uniform(5, [70, 50], (40, 2))
    confidence = result.transfer_confidence(points, "a")
    assert confidence is not None
    least = float(np.median(confidence))
    carried = SmoothMaps(result).carry(points, Propagation(min_confidence=least, max_distance=100))
    np.testing.assert_array_equal(carried.confidence, confidence)
    assert carried.visible.any() and not carried.visible[confidence < least].any()


def test_drawings_fade_with_confidence_and_hide_what_is_left_out() -> None:
    result = random_result(3)
    image_a = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    image_b = np.full((90, 70, 3), 90, np.uint8)
    nothing = result.at_least(1.0)
    for style in ("lines", "grid"):
        every, none = (r.draw(image_a, image_b, style=style) for r in (result, nothing))
        assert (every != none).any(), style
    assert (nothing.draw(image_a, image_b, style="warp")[:90, -70:] == 90).all()


def test_results_with_confidence_can_be_pickled() -> None:
    result = random_result(6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)).confidence_a, result.confidence_a)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 4},
        {"weights": MODEL.weights | {"support": -0.1}},
        {"weights": {"support": 1.0}},
        {"intercept": float("nan")},
        {"within": 0.0},
        {"truth": "guess"},
    ],
)
def test_numbers_that_are_none_of_confidence_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"version 4|weights|finite|truth"):
        dataclasses.replace(MODEL, **change)


def test_the_built_in_model_is_confident_in_a_picture_and_itself(photos: list[Image]) -> None:
    with Matcher.open() as matcher:
        same, other = matcher.match(photos[0], photos[0]), matcher.match(photos[0], photos[1])
    assert open_bundle().manifest.confidence is not None
    assert same.confidence_a is not None and other.confidence_a is not None
    assert same.confidence_a.mean() > 0.9 > other.confidence_a.mean()


def test_evidence_and_mutual_matches_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of a video is filtered, drawn and written to several files."""
    calls: list[object] = []

    def counted(own: Direction, other: Direction) -> Any:
        calls.append(own)
        return match_evidence(own, other)

    monkeypatch.setattr("dccnet.runtime.correspondences.match_evidence", counted)
    result = random_result(1).at_least(0.5)
    assert result.mutual() is result.mutual() and result.confidence_a is not None
    assert len(calls) == 1
    monkeypatch.undo()
    assert len(random_result(1).mutual()) >= len(result.mutual())


def test_how_well_pictures_agree_needs_no_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dccnet.runtime.correspondences.match_evidence", None)
    result = random_result(2)
    expected = dataclasses.replace(result, confidence_model=None).mutual("cells").scores.sum() / 30
    assert agreement(result) == pytest.approx(float(expected), rel=1e-6)


def test_bundles_of_an_earlier_version_keep_their_confidence() -> None:
    evidence = np.array([-1.0, -2.0, -0.5, -1.5, 0.4, 9.0, -9.0, 0.5])
    by_hand = 0.2 * -1 + 0.5 * -2 + 1.0 * -0.5 + 1.0 * -1.5 + 0.3 * 0.4 + 3.0
    assert FIRST.log_odds(evidence) == pytest.approx(by_hand)
    assert SECOND.log_odds(evidence) == pytest.approx(3.0 * 9 + 1.0 * -9 + 0.5)
    assert MODEL.log_odds(evidence) == pytest.approx(3.0 * 9 + 1.0 * -9 + 2.0 * 0.5 - 1.0)
    with pytest.raises(ValueError, match="weights must be those of support, deviation"):
        dataclasses.replace(FIRST, version=2)
    with pytest.raises(ValueError, match="version 4 of confidence is unknown to this dcc"):
        dataclasses.replace(MODEL, version=4)
