"""Fusions that multiply both maps: with equal exponents, and with those of their neighbours' support."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dccnet.network.fusion import as_matrix
from dccnet.network.products import (
    PRODUCT_EPSILON,
    SUPPORT_EPSILON,
    SUPPORT_FLOOR,
    ProductFusion,
    SupportFusion,
)
from dccnet.network.support import neighbour_support

GRID_A, GRID_B = (3, 4), (4, 3)


@pytest.fixture
def maps() -> list[Tensor]:
    torch.manual_seed(0)
    return [5 * torch.rand(2, 1, *GRID_A, *GRID_B, dtype=torch.float64) for _ in range(2)]


def test_a_product_is_in_proportion_to_both_maps(maps: list[Tensor]) -> None:
    scores, attention, support = ProductFusion()(maps)
    assert support is None
    local, context = (as_matrix(c) + PRODUCT_EPSILON for c in maps)
    for pair, row, column in ((0, 2, 5), (1, 11, 0)):
        total = sum(float(local[pair, row, j] * context[pair, row, j]) for j in range(12))
        expected = float(local[pair, row, column] * context[pair, row, column]) / total
        assert float(scores.on_a[pair, row, column]) == pytest.approx(expected)
    swapped = ProductFusion()([c.movedim((4, 5), (2, 3)) for c in maps])
    torch.testing.assert_close(scores.on_b, swapped.scores.on_a.transpose(1, 2))
    torch.testing.assert_close(scores.on_a.sum(2), torch.ones(2, 12).double())
    assert attention is None


def test_a_branch_that_cannot_tell_leaves_a_product_to_the_other(maps: list[Tensor]) -> None:
    even = torch.full_like(maps[0], 0.3)
    found = ProductFusion()([maps[0], even]).scores
    assert torch.equal(found.on_a.argmax(2), as_matrix(maps[0]).argmax(2))
    torch.testing.assert_close(found, ProductFusion()([even, maps[0]]).scores)


def test_a_product_does_not_depend_on_a_maps_scale(maps: list[Tensor]) -> None:
    large = [maps[0] + 1, maps[1] + 1]  # far above the epsilon
    found = ProductFusion()([100 * large[0], large[1]]).scores.on_a
    torch.testing.assert_close(found, ProductFusion()(large).scores.on_a, rtol=2e-3, atol=0)


def test_a_product_of_nothing_is_even() -> None:
    nothing = torch.zeros(1, 1, 2, 2, 2, 3)
    torch.testing.assert_close(
        ProductFusion()([nothing, nothing]).scores.on_a, torch.full((1, 4, 6), 1 / 6)
    )


def test_exponents_follow_the_squared_support_of_each_branch(maps: list[Tensor]) -> None:
    scores, attention, _ = SupportFusion()(maps)
    powers = [as_matrix(c) + SUPPORT_FLOOR for c in maps]
    supports = [neighbour_support(c.log(), GRID_A, GRID_B) for c in powers]
    assert attention is not None
    for pair, cell in ((0, 2), (1, 11)):
        local, context = ((s.on_a[pair, cell] + SUPPORT_EPSILON) ** 2 for s in supports)
        weight = local / (local + context)
        row = powers[0][pair, cell] ** (2 * weight) * powers[1][pair, cell] ** (2 - 2 * weight)
        torch.testing.assert_close(scores.on_a[pair, cell], row / row.sum())
        assert attention.on_a.shape == (2, 2, *GRID_A) and attention.on_b.shape == (2, 2, *GRID_B)
        torch.testing.assert_close(
            attention.on_a[pair].flatten(1)[:, cell], torch.stack([weight, 1 - weight])
        )
    swapped, of_swapped, _ = SupportFusion()([c.movedim((4, 5), (2, 3)) for c in maps])
    torch.testing.assert_close(scores.on_b, swapped.on_a.transpose(1, 2))
    assert of_swapped is not None
    torch.testing.assert_close(attention.on_b, of_swapped.on_a)


def test_the_support_returned_is_that_of_the_local_map(maps: list[Tensor]) -> None:
    _, _, support = SupportFusion()(maps)
    local = neighbour_support((as_matrix(maps[0]) + SUPPORT_FLOOR).log(), GRID_A, GRID_B)
    assert support is not None and support.shape == (2, 1)
    torch.testing.assert_close(support[:, 0], (local.on_a.mean(1) + local.on_b.mean(1)) / 2)


def test_the_branch_whose_neighbours_agree_decides() -> None:
    cells = 36
    right = torch.full((1, cells, cells), 0.01)
    right[0, torch.arange(cells), torch.arange(cells)] = 0.3
    anywhere = torch.full((1, cells, cells), 0.01)
    anywhere[0, torch.arange(cells), torch.randperm(cells, generator=torch.Generator().manual_seed(2))] = (
        1.0
    )
    both = [c.view(1, 1, 6, 6, 6, 6) for c in (right, anywhere)]
    scores, attention, _ = SupportFusion()(both)
    assert torch.equal(scores.on_a.argmax(2)[0], torch.arange(cells))
    assert attention is not None and float(attention.on_a[:, 0].min()) > 0.8
    product = ProductFusion()(both).scores.on_a.argmax(2)[0]
    assert float((product == torch.arange(cells)).float().mean()) < 0.2  # by the larger values


def test_of_one_map_twice_it_is_the_product(maps: list[Tensor]) -> None:
    raised = maps[0] + SUPPORT_FLOOR - PRODUCT_EPSILON  # to the same floor
    torch.testing.assert_close(SupportFusion()([maps[0]] * 2).scores, ProductFusion()([raised] * 2).scores)


def test_what_half_precision_rounds_to_zero_leads_by_less_than_a_hundredth() -> None:
    noise, nothing = torch.zeros(1, 1, 2, 3, 2, 3), torch.zeros(1, 1, 2, 3, 2, 3)
    noise[0, 0, 0, 0, 1, 1] = 3e-4  # as in a network that was trained on warps (docs/tiny.md)
    best, second = SupportFusion()([noise, nothing]).scores.on_a[0, 0].topk(2).values.tolist()
    assert 0 < best - second < 0.01 * best
    best, second = ProductFusion()([noise, nothing]).scores.on_a[0, 0].topk(2).values.tolist()
    assert best - second > 0.2 * best


def test_both_branches_learn_through_it(maps: list[Tensor]) -> None:
    for c in maps:
        c.requires_grad_()
    scores, attention, _ = SupportFusion()(maps)
    scores.on_a.amax(2).sum().backward()
    assert attention is not None and not attention.on_a.requires_grad
    assert all(c.grad is not None and bool((c.grad != 0).any()) for c in maps)
