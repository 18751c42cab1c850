"""Correspondences: transfer, flow, warping, files and drawings."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.drawing.canvas import colours, draw_label
from dccnet.runtime.drawing.choosing import choose_matches
from dccnet.runtime.drawing.matches import draw_lines
from dccnet.runtime.drawing.place_colours import place_colours
from dccnet.runtime.errors import ArgumentError, UsageError
from dccnet.runtime.point_matches import PointMatches
from tests.helpers.results import identity


def random_result(seed: int = 0, grid: tuple[int, int] = (4, 5)) -> Correspondences:
    rng = np.random.default_rng(seed)
    cells = grid[0] * grid[1]
    return Correspondences(
        size_a=(60, 80),
        size_b=(90, 70),
        index_a=rng.integers(0, cells, grid),
        score_a=rng.random(grid, dtype=np.float32),
        index_b=rng.integers(0, cells, grid),
        score_b=rng.random(grid, dtype=np.float32),
    )


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_mutual_matches_are_those_on_which_both_directions_agree(seed: int) -> None:
    result = random_result(seed)
    forward, backward = result.index_a.ravel(), result.index_b.ravel()
    expected = [i for i in range(forward.size) if backward[forward[i]] == i]
    mutual, every = result.mutual(), result.matches("a")
    np.testing.assert_array_equal(mutual.points_a, every.points_a[expected])
    np.testing.assert_array_equal(mutual.points_b, every.points_b[expected])
    lower = [min(result.score_a.flat[i], result.score_b.flat[forward[i]]) for i in expected]
    np.testing.assert_array_equal(mutual.scores, np.array(lower, np.float32))


def test_matches_are_in_pixels_of_both_pictures() -> None:
    result = random_result()
    from_b = result.matches("b")
    np.testing.assert_allclose(from_b.points_b[0], [0, 0])
    np.testing.assert_allclose(from_b.points_b[-1], [69, 89])
    row, column = divmod(int(result.index_b[0, 0]), 5)
    np.testing.assert_allclose(from_b.points_a[0], [column * 79 / 4, row * 59 / 3])


def test_identity_has_no_flow_and_warps_to_itself() -> None:
    result = identity()
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    assert np.abs(result.flow()).max() < 1e-4
    assert np.abs(result.flow(smooth=True)).max() < 1e-3
    for smooth in (False, True):
        assert np.abs(result.warp(image, smooth=smooth).astype(int) - image).max() <= 1


def test_flow_agrees_with_transfer() -> None:
    result = random_result()
    points = np.array([[0, 0], [79, 59], [13, 41], [40, 30]])
    moved = result.transfer(points, from_="a")
    flow = result.flow("a")
    assert flow.shape == (60, 80, 2)
    np.testing.assert_allclose(points + flow[points[:, 1], points[:, 0]], moved, atol=1e-3)


def test_a_known_shift_is_warped_back() -> None:
    """Every cell of B matches the cell one column to its left in A."""
    grid, size = (5, 6), (41, 51)
    columns = np.maximum(np.arange(6) - 1, 0)
    index_b = 6 * np.arange(5)[:, None] + columns
    ones = np.ones(grid, np.float32)
    result = Correspondences(size, size, np.arange(30).reshape(grid), ones, index_b, ones)
    image = np.zeros((*size, 3), np.uint8)
    image[:, 20] = 255
    assert (result.warp(image, onto="b", smooth=False)[:, 30] == 255).all()  # a column is 10 pixels wide
    np.testing.assert_allclose(result.transfer([[30.0, 20.0]], from_="b"), [[20.0, 20.0]])


def test_warp_refuses_a_picture_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"picture a is \(60, 80\)"):
        random_result().warp(np.zeros((10, 10, 3), np.uint8))


@pytest.mark.parametrize("name", ["transfer", "transfer_scores", "carry"])
@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([1.0, 2.0, 3.0], "points must have 2 columns"),
        (
            [[1.0, 2.0, 0.9], [3.0, 4.0, 0.8]],
            r"2 columns \(x, y\), got the shape \(2, 3\)",
        ),
        ([[1.0, 2.0], [3.0, 4.0, 0.8]], "points must be numbers, 2"),
        ([[np.nan, 1.0]], "points contains values that are not finite"),
        ([[1.0, 1.0], [5000.0, 1.0]], "the point 5000,1 lies outside the 80x60 picture A"),
    ],
)
def test_points_of_another_shape_or_picture_are_refused(name: str, points: list[object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        getattr(random_result(), name)(points, from_="a")
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize("side", ["A", "source", "c", None, 0])
def test_a_side_is_a_or_b(side: object) -> None:
    """Anything else was taken for B."""
    result, image = random_result(), np.zeros((90, 70, 3), np.uint8)
    calls = (
        lambda: result.transfer([[1.0, 2.0]], from_=side),  # type: ignore[arg-type]
        lambda: result.transfer_scores([[1.0, 2.0]], from_=side),  # type: ignore[arg-type]
        lambda: result.carry([[1.0, 2.0]], from_=side),  # type: ignore[arg-type]
        lambda: result.matches(side),  # type: ignore[arg-type]
        lambda: result.flow(side),  # type: ignore[arg-type]
        lambda: result.warp(image, onto=side),  # type: ignore[arg-type]
    )
    for call in calls:
        with pytest.raises(ArgumentError, match="must be 'a' or 'b'"):
            call()


def test_points_say_which_picture_is_theirs() -> None:
    for name in ("transfer", "transfer_scores", "carry"):
        with pytest.raises(TypeError, match="from_"):
            getattr(random_result(), name)([[1.0, 2.0]])


def test_an_unknown_rule_is_refused() -> None:
    for name, first in (("transfer", [[[1.0, 2.0]], "a"]), ("flow", ["a"]), ("matches", ["a"])):
        with pytest.raises(ArgumentError, match="subcell, cells"):
            getattr(random_result(), name)(*first, rule="cell")


def test_pictures_of_another_size_are_not_drawn() -> None:
    """Matches would be drawn at wrong places."""
    a, b = np.zeros((60, 80, 3), np.uint8), np.zeros((90, 70, 3), np.uint8)
    points = np.array([[1.0, 2.0]])
    for call in (
        lambda: random_result().draw(b, b),
        lambda: random_result().draw(a, a[:45]),
        lambda: random_result().draw_truth(a, a, points, points, within=1),
    ):
        with pytest.raises(ArgumentError, match=r"picture [ab] is \(\d+, \d+\)"):
            call()


def test_a_picture_too_wide_for_opencv_is_refused_in_one_sentence() -> None:
    result = dataclasses.replace(random_result(), size_b=(4, 40_000))
    with pytest.raises(ArgumentError, match="40000x4 pixels cannot be warped"):
        result.warp(np.zeros((60, 80, 3), np.uint8), onto="b")


def test_no_points_are_transferred_to_no_points() -> None:
    assert random_result().transfer([], from_="a").shape == (0, 2)


def test_scores_of_points_are_those_of_the_nearest_cell() -> None:
    result = random_result()
    assert result.transfer_scores([[79, 59], [-50, 3]], from_="a", outside=True).tolist() == [
        result.score_a[3, 4],
        result.score_a[0, 0],
    ]


def test_json_csv_npz_and_flo_contain_the_same_matches(tmp_path: Path) -> None:
    result = random_result()
    every = result.matches("a")
    for suffix in ("json", "csv", "npz", "flo"):
        result.save(tmp_path / f"out.{suffix}")

    read = json.loads((tmp_path / "out.json").read_text())
    assert read["schema"] == 1 and read["size_b"] == [90, 70]
    np.testing.assert_allclose(read["a_to_b"]["points_b"], every.points_b, atol=1e-3)
    np.testing.assert_allclose(read["a_to_b"]["scores"], every.scores, rtol=1e-5)

    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert len(rows) == 40 and {row["direction"] for row in rows} == {"a_to_b", "b_to_a"}
    np.testing.assert_allclose([float(row["x_b"]) for row in rows[:20]], every.points_b[:, 0], atol=1e-3)

    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["index_a"], result.index_a)
        np.testing.assert_array_equal(arrays["points_b_from_a"], every.points_b)

    raw = (tmp_path / "out.flo").read_bytes()
    assert np.frombuffer(raw[:4], "<f4")[0] == 202021.25
    assert np.frombuffer(raw[4:12], "<i4").tolist() == [80, 60]
    flow = np.frombuffer(raw[12:], "<f4").reshape(60, 80, 2)
    np.testing.assert_array_equal(flow, result.flow("a"))


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"use \.json, \.csv, \.npz, \.parquet, \.flo"):
        random_result().save(tmp_path / "out.xyz")
    assert not list(tmp_path.iterdir())


def test_drawing_shows_both_pictures_and_marks_the_matches() -> None:
    """Enlarged to 1,200 pixels of width, A to the height of B, above a legend."""
    a = np.full((60, 80, 3), 10, np.uint8)
    b = np.full((90, 70, 3), 20, np.uint8)
    drawn = identity((60, 80)).draw(a, a)
    assert abs(drawn.shape[1] - 1200) <= 2 and (drawn != 10).any()
    bare = random_result().draw(a, b, limit=0)
    scale = (1200 - 8) / (120 + 70)
    assert abs(bare.shape[1] - 1200) <= 2 and bare.shape[0] > 90 * scale
    rows, border = round(90 * scale) - 1, round(120 * scale)
    assert (bare[:rows, : border - 1] == 10).all() and (bare[:rows, border + 10 :] == 20).all()


def test_drawn_matches_are_confident_apart_and_on_something_to_see() -> None:
    """Of a lattice of matches, those on an even background and those with little confidence come last."""
    rng = np.random.default_rng(0)
    picture = np.full((100, 100, 3), 128, np.uint8)
    picture[:, :50] = rng.integers(0, 256, (100, 50, 3), np.uint8)
    points = np.stack(np.meshgrid(np.arange(5, 100, 10), np.arange(5, 100, 10)), axis=-1).reshape(-1, 2)
    confidence = np.where(points[:, 1] < 50, 0.9, 0.3).astype(np.float32)
    places = points.astype(np.float64)
    matches = PointMatches(places, places, np.ones(100, np.float32), confidence)
    chosen = choose_matches(picture, picture, matches, 8)
    assert len(chosen) == 8 and (chosen.points_a < 50).all()
    apart = np.linalg.norm(chosen.points_a[:, None] - chosen.points_a, axis=-1) + 100 * np.eye(8)
    assert apart.min() >= 10
    assert len(choose_matches(picture, picture, matches, 1000)) == 100
    assert len(choose_matches(picture, picture, matches.take(np.zeros(0, np.intp)), 3)) == 0


def test_lines_are_as_opaque_as_they_are_confident() -> None:
    grey = np.full((400, 600, 3), 128, np.uint8)
    ends = np.array([[50.0, 200.0]]), np.array([[550.0, 200.0]])
    contrast = []
    for confidence in (0.1, 0.9):
        matches = PointMatches(*ends, np.ones(1, np.float32), np.array([confidence], np.float32))
        contrast.append(np.abs(draw_lines(grey, grey, matches)[200, 300].astype(int) - 128).max())
    assert 0 < 3 * contrast[0] < contrast[1]
    drawn = draw_lines(grey, grey, PointMatches(*ends, np.ones(1, np.float32)))
    np.testing.assert_allclose(drawn[200, 300], colours(1)[0], atol=12)  # OpenCV's thin lines are soft


def mean_colour(picture: Image) -> NDArray[np.int64]:
    """Mean colour ``(3,)``, BGR."""
    return picture.reshape(-1, 3).mean(axis=0).astype(np.int64)


def test_a_grid_drawing_shows_the_colour_of_each_match() -> None:
    """B is mirrored: what is left and yellow in A is right in B."""
    grey = np.full((60, 80, 3), 255, np.uint8)
    here = identity((60, 80))
    mirrored = dataclasses.replace(
        here, index_a=here.index_a[:, ::-1].copy(), index_b=here.index_b[:, ::-1].copy()
    )
    drawn = mirrored.draw(grey, grey, style="grid")
    left, right = drawn[:, :80], drawn[:, 88:]
    np.testing.assert_array_equal(left, right[:, ::-1])
    blue_over_red = mean_colour(left[:, :20])[0] - mean_colour(left[:, :20])[2]
    assert blue_over_red < 0 < mean_colour(left[:, 60:])[0] - mean_colour(left[:, 60:])[2]
    assert (
        mean_colour(left[:15]).sum() > mean_colour(left[45:]).sum()
    )  # light at the top, dark at the bottom


def test_a_warp_drawing_shows_a_where_b_is(photos: list[Image]) -> None:
    a, b = photos[0], np.zeros_like(photos[0])
    drawn = identity((a.shape[0], a.shape[1])).draw(a, b, style="warp")
    np.testing.assert_array_equal(drawn[:, : a.shape[1]], a)
    np.testing.assert_allclose(drawn[:, a.shape[1] + 8 :], a, atol=1.1)


def test_an_unknown_style_names_the_known_ones() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    with pytest.raises(UsageError, match="lines, grid, warp"):
        identity((60, 80)).draw(picture, picture, style="jet")  # type: ignore[arg-type]


def test_hits_and_misses_differ_in_colour_and_shape() -> None:
    grey = np.full((240, 320, 3), 128, np.uint8)
    result = identity((240, 320))
    points = np.array([[100.0, 120.0]])
    drawn = {
        name: result.draw_truth(grey, grey, points, points + offset, within=10)[:, 328:]
        for name, offset in (("hit", 2.0), ("miss", 40.0))
    }
    hit, miss = (drawn[name][120, 100].astype(int) for name in ("hit", "miss"))
    assert hit[0] > 150 > 100 > hit[2] and miss[2] > 200 > 50 > miss[0]  # blue, orange; BGR
    corner = slice(114, 119), slice(94, 99)  # up and left of the point: an arm of the cross
    assert (np.abs(drawn["miss"][corner].astype(int) - miss).sum(axis=-1) < 40).any()
    assert not (np.abs(drawn["hit"][corner].astype(int) - hit).sum(axis=-1) < 40).all()
    with pytest.raises(ValueError, match="needs one truth"):
        result.draw_truth(grey, grey, points, np.zeros((2, 2)), within=10)


@pytest.mark.parametrize("x", [3.0, 160.0, 317.0])
@pytest.mark.parametrize("y", [3.0, 120.0, 237.0])
def test_labels_are_readable_on_any_background(x: float, y: float) -> None:
    """White text on a dark plate, completely inside the picture, on black and on white."""
    for ground in (0, 255):
        picture = np.full((240, 320, 3), ground, np.uint8)
        draw_label(picture, np.array([x, y]), "12", 6)
        plate = (picture == 24).all(axis=-1)
        rows, columns = np.nonzero(plate)
        inside = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (inside.max(axis=-1) > 240).sum() > 5 and plate.sum() > 60
        border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        assert (border == 24).all()  # nothing is cut off


def luminance(bgr: NDArray[np.uint8]) -> Floats:
    return np.asarray(bgr[..., ::-1] @ np.array([0.2126, 0.7152, 0.0722]))


def test_place_colours_do_not_rely_on_red_against_green() -> None:
    """Distant positions differ even without red against green, and colours darken from row to row."""
    y, x = np.mgrid[0:9, 0:9]
    colours = place_colours(np.stack([x, y], axis=-1), (9, 9)).astype(float)
    blue, red_green = colours[..., 0], colours[..., 1:].mean(axis=-1)
    seen = np.stack([blue, red_green], axis=-1).reshape(-1, 2)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    places = np.stack([x, y], axis=-1).reshape(-1, 2)
    distant = np.abs(places[:, None] - places[None]).max(axis=-1) >= 6
    assert apart[distant].min() > 40
    assert (np.diff(luminance(colours.astype(np.uint8)), axis=0) < 0).all()


def test_the_count_of_hits_is_drawn_where_no_point_is() -> None:
    grey = np.full((240, 320, 3), 128, np.uint8)
    result = identity((240, 320))
    points = np.array([[20.0, 15.0], [300.0, 20.0], [30.0, 220.0]])
    drawn = result.draw_truth(grey, grey, points, points, within=10)[:, 328:]
    plate = (drawn == 24).all(axis=-1)
    assert plate[200:, 160:].sum() > 500  # bottom right; a number's plate has some 200 dark pixels
    assert result.draw_truth(grey, grey, np.empty((0, 2)), np.empty((0, 2)), within=10).any()
