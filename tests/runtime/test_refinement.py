"""Matches below the cells: by fine features, in the runtime, in exports and on the command line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.runtime.geometry import cell_pixels
from dccnet.runtime.manifest import FineGrid
from dccnet.runtime.refinement import REACH, FineFeatures, refine

FRAME = (160, 128)
GRID = FineGrid(4, (3.0, 3.0))


def texture(shift: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> FineFeatures:
    """Smooth random fine features whose content lies (x, y) pixels of the frame further right and down."""
    random = np.random.default_rng(seed)
    rows, columns = FRAME[0] // 4, FRAME[1] // 4
    y, x = np.mgrid[:rows, :columns] * 4 + 3.0
    x, y = x - shift[0], y - shift[1]
    angles = random.uniform(0, 2 * np.pi, (12, 4))
    waves = random.uniform(-0.25, 0.25, (12, 4, 2))  # radians per pixel: details of 25 pixels and more
    phases = waves[..., 0, None, None] * x + waves[..., 1, None, None] * y + angles[..., None, None]
    values = np.sin(phases).sum(axis=1)  # (12, rows, columns)
    values /= np.linalg.norm(values, axis=0)
    return FineFeatures.in_frame(values.astype(np.float16), GRID, FRAME)


def lattice(border: float = 0.0) -> np.ndarray:
    """Places (x, y) in a picture, as shares of it, at least ``border`` from its edges."""
    return border + (1 - 2 * border) * cell_pixels((7, 9), (2, 2)).reshape(-1, 2)


@given(seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_a_picture_and_itself_match_at_the_same_place_up_to_the_border(seed: int) -> None:
    fine, places = texture(seed=seed), lattice()
    np.testing.assert_allclose(refine(places, places, fine, fine), places, atol=0.8 / (max(FRAME) - 1))


@given(x=st.floats(-10, 10), y=st.floats(-10, 10), seed=st.integers(0, 50), back=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_shift_within_a_cell_is_recovered_in_both_directions(
    x: float, y: float, seed: int, back: bool
) -> None:
    first, second = texture(seed=seed), texture((x, y), seed)
    here, there = (second, first) if back else (first, second)
    move = np.array([x, y]) / (np.array(FRAME[::-1]) - 1) * (-1 if back else 1)
    places = lattice(0.25)
    found = refine(places, places, here, there)
    errors = np.abs(found - places - move) * (np.array(FRAME[::-1]) - 1)
    assert np.median(errors) < 1.5 and errors.max() < 4  # of at most 10; a cell has 16


@pytest.mark.parametrize("count", [0, 1, 20])
def test_few_points_move_as_they_do_among_many(count: int) -> None:
    random = np.random.default_rng(count)
    places, starts = random.uniform(0, 1, (100, 2)), random.uniform(0, 1, (100, 2))
    first, second = texture(), texture((5.0, -3.0))
    many = refine(places, starts, first, second)
    np.testing.assert_array_equal(refine(places[:count], starts[:count], first, second), many[:count])


def test_the_search_ends_a_cell_away() -> None:
    random = np.random.default_rng(0)
    places, starts = random.uniform(0, 1, (200, 2)), random.uniform(0, 1, (200, 2))
    found = refine(places, starts, texture(seed=1), texture(seed=2))
    steps = np.abs(found - starts) * (np.array(FRAME[::-1]) - 1) / GRID.stride
    assert steps.max() <= REACH + 2  # the rounding of the start, a parabola, the border
    assert np.isfinite(found).all()


def test_features_without_differences_leave_matches_where_they_are() -> None:
    flat = FineFeatures.in_frame(np.zeros((4, 40, 32), np.float16), GRID, FRAME)
    places = lattice(0.1)
    np.testing.assert_allclose(refine(places, places[::-1], flat, flat), places[::-1], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3)])
def test_the_smallest_pictures_are_refined(shape: tuple[int, int]) -> None:
    fine = FineFeatures.in_frame(np.ones((4, *shape), np.float32) / 2, GRID, (16, 20))
    assert np.isfinite(refine(lattice(), lattice()[::-1], fine, fine)).all()
