"""Smooth maps: they follow confident matches, fold nowhere, and are each other's inverse."""

from __future__ import annotations

import dataclasses
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dccnet.runtime.alignment.folds import folded
from dccnet.runtime.alignment.frame import Frame
from dccnet.runtime.alignment.lattice import block_centres, spread
from dccnet.runtime.alignment.mask import soft_mask
from dccnet.runtime.alignment.splines import Fit, evaluate
from dccnet.runtime.arrays import Floats
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import cell_pixels
from tests.helpers.results import identity

SIDES: tuple[Literal["a", "b"], ...] = ("a", "b")


def areas(targets: Floats) -> Floats:
    """Jacobian determinants of a map ``(H, W, 2)`` between neighbouring places, in squares of them."""
    along, down = np.diff(targets, axis=1)[:-1], np.diff(targets, axis=0)[:, :-1]
    return along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0]


def matched(to_b: Floats, to_a: Floats, size: tuple[int, int]) -> Correspondences:
    """Matches of ``(h, w, 2)`` cells: the nearest ones to the given positions, in cells."""
    grid = to_b.shape[0], to_b.shape[1]
    last = np.array([grid[1] - 1, grid[0] - 1])
    a, b = (np.clip(np.rint(cells), 0, last).astype(np.int64) for cells in (to_b, to_a))
    index_a, index_b = (cells[..., 1] * grid[1] + cells[..., 0] for cells in (a, b))
    ones = np.ones(grid, np.float32)
    return Correspondences(size, size, index_a, ones, index_b, ones)


def stretched(grid: tuple[int, int] = (12, 12), size: tuple[int, int] = (111, 111)) -> Correspondences:
    """B shows the middle of A twice as large."""
    cells, middle = cell_pixels(grid, grid), (np.array(grid[::-1]) - 1) / 2
    return matched(middle + 2 * (cells - middle), middle + (cells - middle) / 2, size)


@given(st.integers(0, 10_000), st.booleans(), st.tuples(st.integers(30, 90), st.integers(30, 90)))
@settings(max_examples=12, deadline=None)
@example(191, True, (30, 32))
def test_no_matches_whatever_make_it_fold(seed: int, mutual: bool, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    index_a = rng.permutation(64).reshape(8, 8)
    index_b = np.argsort(index_a.ravel()).reshape(8, 8) if mutual else rng.permutation(64).reshape(8, 8)
    score = np.ones((8, 8), np.float32)
    found = Correspondences((60, 80), size, index_a, score, index_b, score).smooth_map()
    for side in SIDES:
        # Twice as dense as the field: pixels of such small pictures lie farther apart than its places.
        own, _ = found.frame.sides(side)
        dense = found.step / own.scale / 2
        x, y = np.meshgrid(*(np.arange(0, length - 1, dense) for length in own.size[::-1]))
        places = np.stack([x, y], axis=-1)
        moved = found.carry(places.reshape(-1, 2), side).reshape(places.shape)
        assert areas(moved).min() > 0


def test_there_and_back_is_the_same_point() -> None:
    found = stretched().smooth_map()
    points = np.random.default_rng(0).random((40, 2)) * 110
    np.testing.assert_allclose(found.carry(found.carry(points, "a"), "b"), points, atol=0.01)


def test_it_follows_the_matches_and_ignores_a_few_wrong_ones() -> None:
    result, middle = stretched(), np.array([55.0, 55.0])
    wrong = result.index_b.copy()
    wrong[5, 5], wrong[6, 7] = 0, 143
    result = dataclasses.replace(result, index_b=wrong)
    points = middle + np.array([[-20, -20], [10, 15], [0, 25], [-30, 5]])
    carried = result.smooth_map().carry(points, "b")
    np.testing.assert_allclose(carried, middle + (points - middle) / 2, atol=3)
    np.testing.assert_allclose(result.flow("b", smooth=True)[35, 35], carried[0] - points[0], atol=0.1)


def test_it_is_fitted_once_for_each_rule_and_again_in_another_frame() -> None:
    result = stretched()
    found = result.smooth_map()
    assert result.smooth_map() is found is result.smooth_map("cells")
    frame = Frame.around(result.size_a, result.size_b, 60)
    assert result.smooth_map(frame=frame).frame.size == frame.size
    assert result.smooth_map() is found
    assert dataclasses.replace(result, index_a=np.zeros_like(result.index_a)).smooth_map() is not found


def test_without_a_confident_match_nothing_moves() -> None:
    result = stretched()
    apart = dataclasses.replace(result, index_a=np.zeros_like(result.index_a))  # no mutual matches but one
    found = apart.smooth_map()
    points = np.array([[90.0, 20], [60, 100]])
    np.testing.assert_allclose(found.carry(points, "a"), points, atol=1.5)
    assert found.dense_support("a").max() < 0.2


def test_pictures_of_other_shapes_keep_their_shape() -> None:
    grid = (6, 6)
    index, score = np.arange(36).reshape(grid), np.ones(grid, np.float32)
    result = Correspondences((60, 120), (120, 60), index, score, index, score)
    corners = np.array([[0.0, 0], [119, 0], [0, 59], [60, 30]])
    expected = np.array([[0.0, 0], [59, 0], [0, 119], [30, 60]])
    np.testing.assert_allclose(result.smooth_map().carry(corners, "a"), expected, atol=6)
    image = np.zeros((60, 120, 3), np.uint8)
    assert result.warp(image, onto="b").shape == (120, 60, 3)


def test_dense_maps_are_those_of_their_points() -> None:
    found = stretched(size=(95, 111)).smooth_map()
    dense = found.dense_targets("b")
    assert dense.shape == (95, 111, 2)
    points = np.array([[0.0, 0], [110, 94], [37, 61], [80, 11]])
    x, y = points.astype(int).T
    np.testing.assert_allclose(dense[y, x], found.carry(points, "b"), atol=0.3)


def test_a_mask_follows_edges_and_is_hard_far_from_them() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[:, 100:] = 255
    support = np.zeros((200, 200), np.float32)
    support[:, 97:] = 1  # three pixels off the edge
    mask = soft_mask(support, picture)
    assert mask.dtype == np.float32
    assert mask[:, :60].max() < 0.01
    assert mask[:, 140:].min() > 0.99
    assert np.diff(mask[100]).argmax() == 99


@pytest.mark.parametrize(("scale", "bad"), [(1.9, True), (0.2, False), (-1.4, False), (-5.0, True)])
def test_folds_are_where_half_a_field_turns_a_square_over(scale: float, bad: bool) -> None:
    places = cell_pixels((5, 6), (5, 6))
    assert folded(scale * places).all() == bad == folded(scale * places).any()


def test_a_rotation_by_half_a_turn_is_refused_though_its_ends_are_no_folds() -> None:
    places = cell_pixels((5, 6), (5, 6))
    assert folded(-2 * 1.9 * places).all()


def test_splines_reproduce_planes_and_stiffness_flattens() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((200, 2)) * 5 + 1
    plane = points @ np.array([[0.3, -0.2], [0.1, 0.4]]) + 2
    fit = Fit((9, 8), points)
    field = fit.solve(np.ones(200), plane, np.full((9, 8), 10.0))
    np.testing.assert_allclose(fit.values(field), plane, atol=1e-4)
    np.testing.assert_allclose(
        evaluate(field, np.array([2.0]), np.array([3.0]))[0, 0], [3.1, 2.2], atol=1e-4
    )
    rough = plane + rng.normal(size=plane.shape)
    misses = [
        np.std(fit.values(fit.solve(np.ones(200), rough, np.full((9, 8), s))) - plane) for s in (1e-3, 1e2)
    ]
    assert misses[1] < misses[0] / 2


@pytest.mark.parametrize("block", [1, 4, 7])
def test_values_of_blocks_spread_linearly(block: int) -> None:
    size = (17, 23)
    centres = block_centres(size, block)
    pixels = cell_pixels(size, size)
    np.testing.assert_allclose(spread(centres * [2, 3], size, block), pixels * [2, 3], atol=1e-4)


def test_a_placement_is_where_opencv_resizes_to() -> None:
    frame = Frame.around((40, 60), (80, 60))
    picture = np.zeros((40, 60), np.float32)
    picture[19:21, 29:31] = 1
    inner = cv2.resize(picture, None, fx=frame.a.scale, fy=frame.a.scale, interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[: inner.shape[0], : inner.shape[1]]
    found = np.array([(inner * axis).sum() / inner.sum() for axis in (x, y)])
    offset = (np.array(frame.size[::-1]) - np.array([60, 40]) * frame.a.scale) / 2
    np.testing.assert_allclose(frame.a.to_frame(np.array([29.5, 19.5])), found + offset, atol=0.3)
    np.testing.assert_allclose(frame.b.to_picture(frame.b.to_frame(np.array([[3.0, 4]]))), [[3, 4]])


def test_the_identity_stays_the_identity() -> None:
    support = identity().smooth_map().dense_support("b")
    assert support.shape == (48, 64)
    assert support.min() > 0.4
