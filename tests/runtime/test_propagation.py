"""Points, masks and boxes are carried through known motions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dccnet.runtime import Propagation, Reference, geometry, one_way
from dccnet.runtime.arrays import Floats, Image, Mask, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ImageError, UsageError
from dccnet.runtime.images import write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.refinement import refine
from dccnet.runtime.remap import remap
from dccnet.runtime.video.annotations import parse_boxes, parse_points
from dccnet.runtime.video.mask_files import read_mask
from dccnet.runtime.video.propagation.boxes import carry_boxes
from dccnet.runtime.video.propagation.carrier import Carrier
from dccnet.runtime.video.propagation.maps import Maps, SingleMatches, SmoothMaps
from dccnet.runtime.video.propagation.masks import carry_mask
from dccnet.runtime.video.propagation.moving_least_squares import smooth_targets
from dccnet.runtime.video.propagation.one_euro import OneEuroFilter
from dccnet.runtime.video.propagation.settings import MAPS

SIZE, GRID = (241, 321), (13, 17)  # 20 pixels from cell to cell
DEFAULT = Propagation()


def moved(linear: Floats, shift: Floats) -> Correspondences:
    """Matches of ``x -> linear @ x + shift``, in pixels, each correct to the nearest cell.

    Cells whose match lies outside the picture match a border cell with a low score.
    """
    cells = geometry.cell_pixels(GRID, SIZE).reshape(-1, 2)

    def nearest(points: Floats) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        cell = np.rint(points / geometry.pixels_per_cell(SIZE, GRID)).astype(np.int64)
        held = np.clip(cell, 0, [GRID[1] - 1, GRID[0] - 1])
        scores = np.where((held == cell).all(axis=1), 0.9, 0.05).astype(np.float32)
        return (held[:, 1] * GRID[1] + held[:, 0]).reshape(GRID), scores.reshape(GRID)

    forward, scores = nearest(cells @ linear.T + shift)
    back, back_scores = nearest((cells - shift) @ np.linalg.inv(linear).T)
    return Correspondences(SIZE, SIZE, forward, scores, back, back_scores)


def errors(scale: float, angle: float, away: tuple[float, float]) -> tuple[float, float]:
    """Mean error in pixels of 50 points, by the smooth map and by the benchmarks' transfer."""
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([160.0, 120.0])
    shift = centre - linear @ centre + away
    result = moved(linear, shift)
    points = centre + np.random.default_rng(0).uniform(-60, 60, (50, 2))
    truth = points @ linear.T + shift
    smooth = geometry.transfer(points, smooth_targets(result, "a"), SIZE)
    by_both = [np.linalg.norm(p - truth, axis=1).mean() for p in (smooth, result.transfer(points, "a"))]
    return float(by_both[0]), float(by_both[1])


@settings(max_examples=40, deadline=None)
@given(st.floats(0.8, 1.25), st.floats(-0.4, 0.4), st.floats(-30, 30), st.floats(-30, 30))
def test_a_smooth_map_is_never_much_worse_than_the_benchmarks_transfer(
    scale: float, angle: float, x: float, y: float
) -> None:
    smooth, plain = errors(scale, angle, (x, y))
    assert smooth < plain + 1.5  # of 20 pixels a cell


def test_a_smooth_map_is_more_precise_than_the_benchmarks_transfer() -> None:
    rng = np.random.default_rng(3)
    motions = [
        (rng.uniform(0.8, 1.25), rng.uniform(-0.4, 0.4), tuple(rng.uniform(-30, 30, 2))) for _ in range(30)
    ]
    smooth, plain = np.mean([errors(*motion) for motion in motions], axis=0)
    assert smooth < 0.6 * plain


@settings(max_examples=25, deadline=None)
@given(st.integers(-5, 5), st.integers(-5, 5))
def test_a_shift_by_whole_cells_is_exact_and_points_that_leave_are_lost(x: int, y: int) -> None:
    shift = np.array([20.0 * x, 20.0 * y])
    points = np.random.default_rng(1).uniform([0, 0], [320, 240], (200, 2))
    carried = SmoothMaps(moved(np.eye(2), shift)).carry(points, DEFAULT)
    truth = points + shift
    beyond = np.maximum(-truth, truth - [320, 240]).max(axis=1)  # pixels outside the frame
    held, gone = beyond < -20, beyond > 30
    assert carried.visible[held].all() and not carried.visible[gone].any()
    assert np.allclose(carried.points_b[held], truth[held], atol=1.5)


def test_a_few_wrong_matches_do_not_move_a_point() -> None:
    result = moved(np.eye(2), np.zeros(2))
    swapped = result.index_a.copy()
    swapped[6, 8], swapped[2, 2] = swapped[2, 2], swapped[6, 8]
    back = result.index_b.copy()
    back[6, 8], back[2, 2] = back[2, 2], back[6, 8]  # mutual, but wrong
    spoilt = Correspondences(SIZE, SIZE, swapped, result.score_a, back, result.score_b)
    point = np.array([[160.0, 120.0]])  # on the cell with the wrong match
    assert np.linalg.norm(spoilt.transfer(point, "a") - point) > 100
    carried = SmoothMaps(spoilt).carry(point, DEFAULT)
    assert np.linalg.norm(carried.points_b - point) < 3


def test_a_point_with_a_score_far_below_the_median_is_lost() -> None:
    result = moved(np.eye(2), np.zeros(2))
    scores = result.score_a.copy()
    scores[3, 4] = 0.01
    doubtful = Correspondences(SIZE, SIZE, result.index_a, scores, result.index_b, result.score_b)
    points = np.array([[80.0, 60.0], [200.0, 60.0]])  # cells (3, 4) and (3, 10)
    assert SmoothMaps(doubtful).carry(points, DEFAULT).visible.tolist() == [False, True]
    assert SmoothMaps(doubtful).carry(points, Propagation(min_score=0)).visible.all()


def test_points_of_videos_are_carried_as_those_of_pictures_unless_a_smooth_map_is_chosen() -> None:
    angle = 0.3
    turned = moved(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]), np.zeros(2))
    points = np.array([[160.0, 70.0], [203.0, 91.0]])
    reference = Reference(np.zeros((*SIZE, 3), np.uint8), points=points)
    found = {}
    for chosen in MAPS:
        carried = Carrier(Propagation(map=chosen)).carry(reference, turned, 0.0)
        assert carried is not None and carried.points is not None
        found[chosen] = carried.points.points_b
    np.testing.assert_array_equal(found["matches"], turned.transfer(points, "a"))
    assert (found["smooth"] != found["matches"]).any()
    with pytest.raises(UsageError, match="matches, smooth"):
        Propagation(map="affine")


@pytest.mark.parametrize("maps_kind", [SingleMatches, SmoothMaps])
def test_a_mask_keeps_its_values_when_it_moves(maps_kind: type[Maps]) -> None:
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[80:140, 100:180] = (7, 0, 200)
    maps = maps_kind(moved(np.eye(2), np.array([40.0, -20.0])))
    carried = carry_mask(mask, maps, DEFAULT)
    wanted = np.zeros_like(mask)
    wanted[60:120, 140:220] = (7, 0, 200)
    assert {tuple(v) for v in carried.mask.reshape(-1, 3)} == {(0, 0, 0), (7, 0, 200)}
    both = ((carried.mask > 0) & (wanted > 0)).any(axis=2).sum()
    either = ((carried.mask > 0) | (wanted > 0)).any(axis=2).sum()
    assert both / either > 0.95
    assert carried.confidence.shape == SIZE and carried.confidence[90, 180] > 0.9
    assert carried.confidence[100, 2] <= 0.5  # its position in the reference lies outside
    assert carried.confidence.min() >= 0 and carried.confidence.max() <= 1


def test_masks_are_refined_along_their_edges(photos: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    photo, shift = cv2.resize(photos[0], (420, 320)), (11, 7)  # less than a cell
    a, b = photo[20:-20, 20:-20], photo[20 + shift[1] : shift[1] - 20, 20 + shift[0] : shift[0] - 20]
    mask = np.zeros(a.shape[:2], np.uint8)
    cv2.ellipse(mask, (200, 140), (90, 60), 20, 0, 360, 7, -1)
    with Matcher.open() as matcher:
        result = matcher.match(a, b)
    assert result.rule == "refined"
    way = result.one_way("b")
    wholly = remap(mask, way.dense_targets("refined"), nearest=True)
    refined: list[int] = []

    def counted(points: Points, *others: Any) -> Points:
        refined.append(len(points))
        return refine(points, *others)

    monkeypatch.setattr(one_way, "refine", counted)
    carried = carry_mask(mask, SingleMatches(result), DEFAULT).mask
    assert (carried != wholly).mean() < 1e-3
    assert sum(refined) < 0.5 * way.lattice("subcell")[..., 0].size

    def overlap(found: Mask) -> float:
        truth = np.roll(mask, (-shift[1], -shift[0]), axis=(0, 1))
        return float(((found > 0) & (truth > 0)).sum() / ((found > 0) | (truth > 0)).sum())

    between_cells = remap(mask, way.dense_targets("subcell"), nearest=True)
    assert overlap(carried) > max(overlap(between_cells), 0.95)
    nothing = carry_mask(np.zeros_like(mask), SingleMatches(result), DEFAULT).mask
    assert not nothing.any() and refined[-1] == 0


def test_a_box_moves_and_grows() -> None:
    boxes = np.array([[120.0, 80, 80, 60], [0.0, 0, 40, 40]])
    maps = SmoothMaps(moved(1.25 * np.eye(2), np.array([-40.0, -60.0])))
    carried = carry_boxes(boxes, maps, DEFAULT)
    assert np.allclose(carried.boxes_b[0], [110, 40, 100, 75], atol=5)
    assert carried.visible.tolist() == [True, False] and carried.scores[0] > 0.9 > carried.scores[1]


def test_a_point_that_is_lost_from_frame_to_frame_stays_lost() -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    reference = Reference(image, "frame:0", points=np.array([[160.0, 120.0], [300.0, 120.0]]))
    right, left = (moved(np.eye(2), np.array([shift, 0.0])) for shift in (60.0, -60.0))
    chained, single = Carrier(DEFAULT, reference), Carrier(DEFAULT)
    there, back = (chained.carry(reference, pair, t) for t, pair in enumerate((right, left)))
    assert there is not None and there.points is not None and back is not None and back.points is not None
    assert there.points.visible.tolist() == [True, False]
    assert back.points.visible.tolist() == [True, False]
    assert np.allclose(back.points.points_b[0], [160, 120], atol=2)
    alone = single.carry(reference, left, 1.0)
    assert alone is not None and alone.points is not None and alone.points.visible.all()
    assert np.allclose(alone.points.points_b, [[100, 120], [240, 120]], atol=2)


# One Euro --------------------------------------------------------------------------------------


def test_the_filter_calms_points_at_rest_and_follows_points_in_motion() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(200) / 30
    still = np.array([100.0, 50.0]) + rng.normal(0, 2, (200, 2))
    walk = np.stack([300 * times, np.zeros(200)], axis=1)
    seen = np.ones(1, bool)
    calm, follow = OneEuroFilter(), OneEuroFilter()
    calmed = np.array([calm(p[None], seen, t)[0] for p, t in zip(still, times, strict=True)])
    followed = np.array([follow(p[None], seen, t)[0] for p, t in zip(walk, times, strict=True)])
    assert calmed[50:].std(axis=0).max() < 0.6 * still.std(axis=0).min()
    assert np.linalg.norm(followed - walk, axis=1)[-1] < 20  # at 300 pixels/s
    slow = OneEuroFilter(beta=0.0)
    lagging = [slow(p[None], seen, t)[0] for p, t in zip(walk, times, strict=True)][-1]
    assert np.linalg.norm(lagging - walk[-1]) > 2 * np.linalg.norm(followed[-1] - walk[-1])


def test_the_filter_restarts_for_a_point_that_reappears() -> None:
    smooth = OneEuroFilter()
    here, there = np.array([[0.0, 0.0]]), np.array([[100.0, 0.0]])
    yes, no = np.ones(1, bool), np.zeros(1, bool)
    smooth(here, yes, 0.0)
    assert 0 < smooth(there, yes, 0.1)[0, 0] < 100
    assert smooth(there, no, 0.2)[0, 0] == 100  # not visible: unchanged
    assert smooth(here, yes, 0.3)[0, 0] == 0
    assert smooth(there, yes, 0.3)[0, 0] == 100  # the time does not increase


# Files -----------------------------------------------------------------------------------------


def test_points_and_boxes_are_read_from_text() -> None:
    assert parse_points("1,2;3.5,4;").tolist() == [[1, 2], [3.5, 4]]
    assert parse_boxes(["1,2,3,4", "5,6,7,8"]).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_masks_are_read_without_conversion(tmp_path: Path) -> None:
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    write_image(tmp_path / "m.png", labels)
    assert np.array_equal(read_mask(tmp_path / "m.png")[0], labels)
    (tmp_path / "n.png").write_text("no")
    for name in ("n.png", "absent.png"):
        with pytest.raises(ImageError, match=name):
            read_mask(tmp_path / name)
    for text in ("1,2,3", "1,2,3,x", "1,2,3,4;5,6,7,8"):
        with pytest.raises(UsageError, match="--box must look like"):
            parse_boxes([text])
