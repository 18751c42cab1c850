"""Resampling and transfer, against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats

sides = st.integers(1, 60)


def grid_sample(image: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    """Resizing as in training: the identity affine grid with aligned corners."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    identity = torch.eye(2, 3, dtype=torch.float64)[None]
    grid = F.affine_grid(identity, [1, 3, *size], align_corners=True)
    return F.grid_sample(tensor, grid, align_corners=True)[0].permute(1, 2, 0).numpy()


@given(sides, sides, st.integers(2, 50), st.integers(2, 50), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_resize_equals_grid_sample(h: int, w: int, th: int, tw: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    expected = grid_sample(image, (th, tw))
    assert np.abs(geometry.resize(image, (th, tw)) - expected).max() < 1e-3
    # Rounding to whole grey levels is the only difference.
    assert np.abs(geometry.resize_uint8(image, (th, tw)) - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_large_pictures_are_resized_bit_for_bit_as_others_are(dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, 256, (301, 400, 3)).astype(dtype)
    otherwise_stored = np.asfortranarray(image)  # not gathered from
    for resize in (geometry.resize, geometry.resize_as_pytorch):
        np.testing.assert_array_equal(resize(image, (41, 57)), resize(otherwise_stored, (41, 57)))


def test_resize_keeps_the_corners_and_copies_at_the_same_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    resized = geometry.resize_uint8(image, (400, 400))
    for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert (resized[y, x] == image[y, x]).all()
    assert (geometry.resize(image, (33, 47)) == image).all()


def reference_transfer(point: Floats, targets: Floats, size: tuple[int, int]) -> Floats:
    """The benchmarks' rule, literally: count the grid coordinates strictly below, minus one."""
    h, w = targets.shape[:2]
    xs = np.linspace(0, size[1] - 1, w)
    ys = np.linspace(0, size[0] - 1, h)
    x0 = min(max(int((xs < point[0]).sum()) - 1, 0), w - 2)
    y0 = min(max(int((ys < point[1]).sum()) - 1, 0), h - 2)
    total, weights = np.zeros(2), 0.0
    for y, x in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
        opposite = xs[2 * x0 + 1 - x], ys[2 * y0 + 1 - y]
        weight = abs(point[0] - opposite[0]) * abs(point[1] - opposite[1])
        total, weights = total + weight * targets[y, x], weights + weight
    return total / weights


@given(
    st.integers(2, 9), st.integers(2, 9), st.integers(2, 400), st.integers(2, 400), st.integers(0, 10_000)
)
@settings(max_examples=100, deadline=None)
def test_transfer_follows_the_benchmarks_rule(h: int, w: int, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.uniform(0, 300, (h, w, 2))
    points = rng.uniform(0, 1, (20, 2)) * [width - 1, height - 1]
    points[:4] = [[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]]
    moved = geometry.transfer(points, targets, (height, width))
    expected = [reference_transfer(point, targets, (height, width)) for point in points]
    np.testing.assert_allclose(moved, expected, rtol=1e-7, atol=1e-7)


@given(st.integers(2, 30), st.integers(2, 30), st.integers(2, 500), st.integers(2, 500))
@settings(max_examples=50, deadline=None)
def test_cells_that_match_themselves_leave_points_unchanged(
    h: int, w: int, height: int, width: int
) -> None:
    size = (height, width)
    targets = geometry.index_pixels(np.arange(h * w).reshape(h, w), (h, w), size)
    np.testing.assert_allclose(targets, geometry.cell_pixels((h, w), size))
    points = np.random.default_rng(h).uniform(0, 1, (30, 2)) * [width - 1, height - 1]
    np.testing.assert_allclose(geometry.transfer(points, targets, size), points, atol=1e-8)


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (5, 1)])
def test_grids_of_one_row_or_column_do_not_divide_by_zero(grid: tuple[int, int]) -> None:
    targets = np.full((*grid, 2), 7.0)
    moved = geometry.transfer([[3.0, 4.0]], targets, (20, 30))
    np.testing.assert_allclose(moved, [[7.0, 7.0]])
