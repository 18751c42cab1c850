"""Transfer by windows of scores: against all scores, against a plain implementation, and by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dccnet.network.fusion import Scores
from dccnet.network.matching import best_matches
from dccnet.network.score_windows import WINDOW, score_windows
from dccnet.runtime.arrays import Floats
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.score_windows import SIDE, cut_windows, transfer_by_windows

Grid = tuple[int, int]
grids = st.tuples(st.integers(1, 7), st.integers(1, 7))


def random_scores(seed: int, grid: Grid, other: Grid) -> NDArray[np.float32]:
    """``(h, w, h', w')``, each cell's scores sum to 1."""
    logits = np.random.default_rng(seed).normal(0, 3, (*grid, *other)).astype(np.float32)
    scores = np.exp(logits)
    scores /= scores.sum(axis=(2, 3), keepdims=True)
    return scores


def best(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    return scores.reshape(*scores.shape[:2], -1).argmax(axis=2)


def transfer_literally(position: Floats, scores: NDArray[np.float32]) -> Floats:
    """One point, in cells: the rule of docs/graphs.md with loops."""
    h, w, h2, w2 = scores.shape
    x, y = np.clip(position, 0, [w - 1, h - 1])
    x0, y0 = min(int(x), max(w - 2, 0)), min(int(y), max(h - 2, 0))
    total = np.zeros((h2, w2))
    for cx, cy in ((x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)):
        weight = (1 - abs(x - cx)) * (1 - abs(y - cy))
        if weight <= 0:
            continue
        row, column = np.unravel_index(scores[cy, cx].argmax(), (h2, w2))
        inside = np.zeros((h2, w2), bool)
        inside[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = True
        total += weight * np.where(inside, scores[cy, cx] - scores[cy, cx][inside].min(), 0)
    row, column = np.unravel_index(total.argmax(), total.shape)
    rows = np.arange(max(row - 2, 0), min(row + 3, h2))
    columns = np.arange(max(column - 2, 0), min(column + 3, w2))
    part = total[rows][:, columns]
    weights = part - part.min()
    if weights.sum() == 0:
        return np.array([column, row], float)
    return np.array([(weights * columns).sum(), (weights * rows[:, None]).sum()]) / weights.sum()


@given(st.integers(0, 10**6), grids, grids)
@settings(max_examples=80, deadline=None)
def test_points_move_as_by_the_rule_written_out(seed: int, grid: Grid, other: Grid) -> None:
    scores = random_scores(seed, grid, other)
    index = best(scores)
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-0.5, 0.5, (12, 2)) + rng.uniform(0, 1, (12, 2)) * [grid[1], grid[0]]
    positions[:3] = [[0, 0], [grid[1] - 1, grid[0] - 1], [grid[1] // 2, grid[0] // 2]]
    moved = transfer_by_windows(positions, index, cut_windows(scores, index), other)
    expected = [transfer_literally(position, scores) for position in positions]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_no_points_and_many_points() -> None:
    scores = random_scores(0, (6, 7), (5, 4))
    index = best(scores)
    windows = cut_windows(scores, index)
    positions = np.random.default_rng(0).uniform(0, 6, (1000, 2))
    moved = transfer_by_windows(positions, index, windows, (5, 4))
    one_by_one = [transfer_by_windows(position[None], index, windows, (5, 4))[0] for position in positions]
    np.testing.assert_array_equal(moved, one_by_one)
    assert transfer_by_windows(positions[:0], index, windows, (5, 4)).shape == (0, 2)


@given(st.integers(0, 10**6), grids, grids)
@settings(max_examples=40, deadline=None)
def test_windows_of_the_network_are_those_cut_from_heat_maps(seed: int, grid: Grid, other: Grid) -> None:
    assert WINDOW == SIDE
    there, back = random_scores(seed, grid, other), random_scores(seed + 1, other, grid)
    cells, others = grid[0] * grid[1], other[0] * other[1]
    scores = Scores(
        on_a=torch.from_numpy(there.reshape(1, cells, others)),
        on_b=torch.from_numpy(back.reshape(1, others, cells)).transpose(1, 2),
    )
    windows = score_windows(scores, best_matches(scores), grid, other)
    for window, heatmap in zip(windows, (there, back), strict=True):
        cut = cut_windows(heatmap, best(heatmap))
        np.testing.assert_array_equal(window[0].numpy(), cut.reshape(-1, SIDE * SIDE))


def peaks(grid: Grid, shift: Floats, width: float = 0.8) -> NDArray[np.float32]:
    """``(h, w, h, w)``: every cell matches the place at ``shift`` (x, y) from its own."""
    y, x = np.mgrid[: grid[0], : grid[1]]
    dx = x - (x[..., None, None] + shift[0])
    dy = y - (y[..., None, None] + shift[1])
    return np.exp(-(dx**2 + dy**2) / (2 * width**2)).astype(np.float32)


def shifted(shift: Floats, size: tuple[int, int] = (78, 100), grid: Grid = (8, 10)) -> Correspondences:
    there, back = peaks(grid, shift), peaks(grid, -shift)
    return Correspondences(
        size_a=size,
        size_b=size,
        index_a=best(there),
        score_a=there.max(axis=(2, 3)),
        index_b=best(back),
        score_b=back.max(axis=(2, 3)),
        window_a=cut_windows(there, best(there)),
        window_b=cut_windows(back, best(back)),
    )


def test_a_shift_by_part_of_a_cell_is_found() -> None:
    """The best cells are those of no shift."""
    result = shifted(np.array([0.4, -0.3]))
    points = np.array([[33.0, 44.0], [38.5, 41.25], [50.0, 30.0]])  # a cell is 11 pixels
    expected = points + np.array([4.4, -3.3])
    np.testing.assert_allclose(result.transfer(points, from_="a"), expected, atol=0.6)
    np.testing.assert_allclose(result.transfer(expected, from_="b"), points, atol=0.6)
    np.testing.assert_allclose(result.transfer(points, from_="a", rule="cells"), points, atol=1e-9)


def test_matches_flow_and_warp_are_transfers_of_their_points() -> None:
    result = shifted(np.array([0.4, -0.3]))
    for side in ("a", "b"):
        matches = result.matches(side)  # type: ignore[arg-type]
        here, there = (matches.points_a, matches.points_b)[:: 1 if side == "a" else -1]
        np.testing.assert_allclose(there, result.transfer(here, side))  # type: ignore[arg-type]
    mutual = result.mutual()
    np.testing.assert_allclose(mutual.points_b, result.transfer(mutual.points_a, "a"))
    flow = result.flow("a")
    points = np.array([[0, 0], [22, 33], [55, 11], [99, 77]])
    moved = result.transfer(points, "a")
    np.testing.assert_allclose(points + flow[points[:, 1], points[:, 0]], moved, atol=1e-3)
    picture = np.zeros((78, 100, 3), np.uint8)
    picture[:, 50:] = 200  # an edge in A, 4.4 pixels further right in B
    for smooth in (False, True):
        warped = result.warp(picture, onto="b", smooth=smooth)[38, :, 0].astype(int)
        assert abs(int((warped < 100).sum()) - 54) <= 1
    by_cells = result.warp(picture, onto="b", rule="cells", smooth=False)
    np.testing.assert_array_equal(by_cells[38, :, 0] < 100, picture[38, :, 0] < 100)


def test_windows_and_heat_maps_place_points_alike() -> None:
    there, back = random_scores(1, (4, 5), (4, 5)), random_scores(2, (4, 5), (4, 5))
    maps = Correspondences(
        (60, 80),
        (90, 70),
        best(there),
        there.max(axis=(2, 3)),
        best(back),
        back.max(axis=(2, 3)),
        there,
        back,
    )
    windows = dataclasses.replace(
        maps,
        heatmap_a=None,
        heatmap_b=None,
        window_a=cut_windows(there, maps.index_a),
        window_b=cut_windows(back, maps.index_b),
    )
    points = np.random.default_rng(0).uniform(0, 60, (20, 2))
    for side in ("a", "b"):
        np.testing.assert_array_equal(maps.transfer(points, side), windows.transfer(points, side))  # type: ignore[arg-type]
    assert maps.rule == windows.rule == "subcell"


def test_without_windows_points_move_by_cells_and_say_so() -> None:
    index, ones = np.arange(20).reshape(4, 5), np.ones((4, 5), np.float32)
    result = Correspondences((60, 80), (60, 80), index, ones, index, ones)
    points = np.array([[3.0, 4.0], [70.0, 50.0]])
    assert result.rule == "cells"
    np.testing.assert_array_equal(result.transfer(points, "a"), result.transfer(points, "a", rule="cells"))
    with pytest.raises(ValueError, match="export the bundle again"):
        result.transfer(points, "a", rule="subcell")


def test_windows_without_differences_stay_at_their_cell() -> None:
    index, ones = np.arange(20).reshape(4, 5), np.ones((4, 5), np.float32)
    flat = np.full((4, 5, 25), 0.05, np.float32)
    result = Correspondences((31, 41), (31, 41), index, ones, index, ones, window_a=flat, window_b=flat)
    cells = result.matches("a")
    np.testing.assert_allclose(cells.points_b, cells.points_a)
    moved = result.transfer([[12.0, 11.0]], from_="a")  # near the cell on (10, 10)
    assert np.abs(moved - [[10, 10]]).max() < 10
