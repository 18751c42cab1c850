from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.correspondences import Correspondences
from runtime.errors import UsageError


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


def identity(size: tuple[int, int] = (48, 64), grid: tuple[int, int] = (4, 5)) -> Correspondences:
    index = np.arange(grid[0] * grid[1]).reshape(grid)
    score = np.ones(grid, np.float32)
    return Correspondences(size, size, index, score, index, score)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_mutual_matches_are_those_that_point_at_each_other(seed: int) -> None:
    result = random_result(seed)
    forward, backward = result.index_a.ravel(), result.index_b.ravel()
    expected = [i for i in range(forward.size) if backward[forward[i]] == i]
    mutual, every = result.mutual(), result.matches("a")
    np.testing.assert_array_equal(mutual.points_a, every.points_a[expected])
    np.testing.assert_array_equal(mutual.points_b, every.points_b[expected])
    lower = [min(result.score_a.flat[i], result.score_b.flat[forward[i]]) for i in expected]
    np.testing.assert_array_equal(mutual.scores, np.array(lower, np.float32))


def test_matches_name_points_of_both_pictures_in_pixels() -> None:
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
    assert np.abs(result.warp(image).astype(int) - image).max() <= 1


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
    assert (result.warp(image, onto="b")[:, 30] == 255).all()  # a column is 10 pixels wide
    np.testing.assert_allclose(result.transfer([[30.0, 20.0]]), [[20.0, 20.0]])


def test_warp_refuses_a_picture_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"picture a is \(60, 80\)"):
        random_result().warp(np.zeros((10, 10, 3), np.uint8))


@pytest.mark.parametrize("points", [[1.0, 2.0], [[1.0, 2.0, 3.0]], [[np.nan, 1.0]]])
def test_transfer_refuses_malformed_points(points: list[object]) -> None:
    with pytest.raises(ValueError, match="points must be finite"):
        random_result().transfer(points)


def test_transfer_of_nothing_is_nothing() -> None:
    assert random_result().transfer([]).shape == (0, 2)


def test_scores_of_points_are_those_of_the_nearest_cell() -> None:
    result = random_result()
    assert result.transfer_scores([[79, 59], [-50, 3]], from_="a").tolist() == [
        result.score_a[3, 4],
        result.score_a[0, 0],
    ]


def test_json_csv_npz_and_flo_hold_the_same_matches(tmp_path: Path) -> None:
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
    with pytest.raises(UsageError, match=r"use \.json, \.csv, \.npz, \.flo"):
        random_result().save(tmp_path / "out.xyz")
    assert not list(tmp_path.iterdir())


def test_drawing_shows_both_pictures_and_marks_the_matches() -> None:
    a = np.full((60, 80, 3), 10, np.uint8)
    b = np.full((90, 70, 3), 20, np.uint8)
    drawn = identity((60, 80)).draw(a, a)
    assert drawn.shape == (60, 80 + 8 + 80, 3)
    assert (drawn != 10).any()
    drawn = random_result().draw(a, b, limit=0)
    assert drawn.shape == (90, 120 + 8 + 70, 3)  # A is scaled to B's height
    assert (drawn[:, :120] == 10).all() and (drawn[:, 128:] == 20).all()
