"""Support of neighbours: the definition cell by cell, and what it must say of maps that are understood."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dccnet.network.support import SHARPNESS, TOLERANCE, neighbour_support

Grid = tuple[int, int]
EPSILON = 1e-3


def places(grid: Grid) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for y in range(grid[0]) for x in range(grid[1])]


def mean_place(row: Tensor, grid: Grid) -> tuple[float, float]:
    shares = (row**SHARPNESS / (row**SHARPNESS).sum()).tolist()
    x, y = (sum(s * place[axis] for s, place in zip(shares, places(grid), strict=True)) for axis in (0, 1))
    return x, y


def by_definition(values: Tensor, grid_a: Grid, grid_b: Grid) -> list[float]:
    """Support of the cells of A, for one map ``(cells, cells)``."""
    in_b = [mean_place(row, grid_b) for row in values]
    in_a = [mean_place(column, grid_a) for column in values.T]
    trust = []
    for row, own in zip(values, places(grid_a), strict=True):
        shares = (row**SHARPNESS / (row**SHARPNESS).sum()).tolist()
        back = [sum(s * p[axis] for s, p in zip(shares, in_a, strict=True)) for axis in (0, 1)]
        trust.append(1 / (1 + math.dist(back, own)))
    scale = [max(a - 1, 1) / max(b - 1, 1) for a, b in ((grid_a[1], grid_b[1]), (grid_a[0], grid_b[0]))]
    found = []
    for cell, (x, y) in enumerate(places(grid_a)):
        totals, count = [0.0, 0.0], 0
        for other, (x2, y2) in enumerate(places(grid_a)):
            if other == cell or max(abs(x2 - x), abs(y2 - y)) > 2:
                continue
            count += 1
            motion = [(in_b[other][axis] - in_b[cell][axis]) * scale[axis] for axis in (0, 1)]
            for i, side in enumerate((1, -1)):
                apart = math.dist(motion, (side * (x2 - x), y2 - y))
                totals[i] += trust[other] * math.exp(-((apart / TOLERANCE) ** 2))
        found.append(max(totals) / max(count, 1))
    return found


@given(
    grid_a=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    grid_b=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=15, deadline=None)
def test_it_is_the_definition_in_both_directions(grid_a: Grid, grid_b: Grid, seed: int) -> None:
    shape = (2, math.prod(grid_a), math.prod(grid_b))
    values = EPSILON + torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double()
    found = neighbour_support(values.log(), grid_a, grid_b)
    for pair in range(2):
        assert found.on_a[pair].tolist() == pytest.approx(by_definition(values[pair], grid_a, grid_b))
        assert found.on_b[pair].tolist() == pytest.approx(by_definition(values[pair].T, grid_b, grid_a))


def matched(target: Tensor) -> Tensor:
    """Logarithms of a map in which each cell matches the cell ``target`` alone."""
    values = torch.full((1, len(target), len(target)), EPSILON).double()
    values[0, torch.arange(len(target)), target] = 1
    return values.log()


def test_things_seen_alike_or_mirrored_have_all_support() -> None:
    cells = torch.arange(36).view(6, 6)
    for target in (cells, cells.flip(1)):
        found = neighbour_support(matched(target.flatten()), (6, 6), (6, 6))
        assert min(float(side.min()) for side in found) > 0.99


def test_matches_that_lead_anywhere_have_little() -> None:
    anywhere = torch.randperm(144, generator=torch.Generator().manual_seed(0))
    found = neighbour_support(matched(anywhere), (12, 12), (12, 12))
    assert max(float(side.mean()) for side in found) < 0.1


def test_one_wrong_match_among_right_ones_stands_out() -> None:
    target = torch.arange(64)
    target[[9, 54]] = target[[54, 9]]  # far from each other
    found = neighbour_support(matched(target), (8, 8), (8, 8)).on_a[0]
    assert float(found[[9, 54]].max()) < 0.01 < 0.8 < float(found[torch.arange(64) % 9 != 0].min())


def test_a_near_tie_changes_little() -> None:
    values = torch.rand(1, 36, 36, generator=torch.Generator().manual_seed(3)).double()
    values[0, 10, [3, 30]] = 2
    one, other = values.clone(), values.clone()
    one[0, 10, 3] += 1e-6
    other[0, 10, 30] += 1e-6
    for a, b in zip(*(neighbour_support(v.log(), (6, 6), (6, 6)) for v in (one, other)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_constants_are_copied_to_another_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy would block a GPU in every step. The device "meta" stands for one here."""
    logarithms = torch.empty(1, 12, 20, device="meta")
    first = neighbour_support(logarithms, (3, 4), (4, 5))
    monkeypatch.setattr(torch, "tensor", None)
    again = neighbour_support(logarithms, (3, 4), (4, 5))
    assert again.on_a.shape == first.on_a.shape == (1, 12) and again.on_b.device.type == "meta"
