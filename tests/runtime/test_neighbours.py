"""What neighbouring matches say for a match."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.runtime.arrays import Floats
from dccnet.runtime.geometry import cell_pixels
from dccnet.runtime.neighbours import agreement_of_neighbours

GRID = (7, 9)


def identity() -> Floats:
    return cell_pixels(GRID, GRID).astype(np.float64)


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=20, deadline=None)
def test_what_moves_alike_has_full_support_wherever_it_moves(seed: int, mirrored: bool) -> None:
    shift = np.random.default_rng(seed).uniform(-5, 5, 2)
    targets = identity() * ([-1, 1] if mirrored else [1, 1]) + shift
    found = agreement_of_neighbours(targets, GRID, np.ones(GRID))
    for values, best in zip(found, (0, 1, 0), strict=True):
        np.testing.assert_allclose(values, best, atol=1e-9)


def test_deviation_is_the_distance_from_the_neighbours_and_ignores_an_outlier() -> None:
    targets = identity()
    targets[3, 4] += [3, 0]  # one match leaves the others
    targets[2, 4] += [0, 5]  # and an outlier is beside it
    found = agreement_of_neighbours(targets, GRID, np.ones(GRID))
    assert found.deviation[3, 4] == pytest.approx(3, abs=0.2)
    assert found.deviation[3, 3] < 0.2
    assert found.support[3, 4] == pytest.approx(23 / 24 * np.exp(-9 / 4), rel=1e-3)


def test_neighbours_that_are_not_trusted_do_not_count() -> None:
    targets, trust = identity(), np.ones(GRID)
    targets[:, 5:] += [0, 7]
    trust[:, 5:] = 0
    found = agreement_of_neighbours(targets, GRID, trust)
    assert found.support[3, 4] == pytest.approx(14 / 24)
    assert found.deviation[3, 4] == pytest.approx(0, abs=1e-9)
    alone = agreement_of_neighbours(targets, GRID, np.zeros(GRID))
    assert (alone.support == 0).all() and (alone.deviation == 0).all()


def test_a_match_that_moves_away_from_its_neighbours_loses_support_and_place() -> None:
    before = None
    for shift in (0.0, 0.5, 1.0, 2.0, 4.0):
        targets = identity()
        targets[3, 4] += [shift, 0]
        found = agreement_of_neighbours(targets, GRID, np.ones(GRID))
        now = found.support[3, 4], -found.deviation[3, 4], -found.roughness[3, 4]
        assert before is None or all(np.array(now) <= np.array(before))
        before = now
