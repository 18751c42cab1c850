"""What fusions blend: scores, as the released code does, or maps, as Eq. 15 does; and the product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dccnet.network.fusion import (
    PRODUCT_EPSILON,
    AverageFusion,
    DynamicFusion,
    ProductFusion,
    as_matrix,
    softmax_scores,
)
from dccnet.training.starts import weight_alike

GRID_A, GRID_B = (3, 4), (4, 3)


@pytest.fixture
def maps() -> list[Tensor]:
    torch.manual_seed(0)
    return [5 * torch.rand(2, 1, *GRID_A, *GRID_B, dtype=torch.float64) for _ in range(2)]


def attentive(blend: str) -> DynamicFusion:
    torch.manual_seed(1)
    return DynamicFusion(GRID_A, None, blend).double()


def test_maps_are_weighed_by_each_directions_attention_and_then_made_scores(maps: list[Tensor]) -> None:
    scores, attention = attentive("maps")(maps)
    local, context = map(as_matrix, maps)
    assert attention is not None
    on_a, on_b = attention.on_a.flatten(2), attention.on_b.flatten(2)
    for pair in range(2):
        for cell in range(12):
            row = on_a[pair, 0, cell] * local[pair, cell] + on_a[pair, 1, cell] * context[pair, cell]
            torch.testing.assert_close(scores.on_a[pair, cell], row.softmax(0))
            column = (
                on_b[pair, 0, cell] * local[pair, :, cell] + on_b[pair, 1, cell] * context[pair, :, cell]
            )
            torch.testing.assert_close(scores.on_b[pair, :, cell], column.softmax(0))


def test_the_attention_is_the_same_whatever_is_blended(maps: list[Tensor]) -> None:
    (scores, of_scores), (fused, of_maps) = attentive("scores")(maps), attentive("maps")(maps)
    torch.testing.assert_close(of_scores, of_maps)
    assert not torch.allclose(scores.on_a, fused.on_a)


@pytest.mark.parametrize("blend", ["scores", "maps"])
def test_an_average_is_an_even_attention(maps: list[Tensor], blend: str) -> None:
    even = attentive(blend)
    weight_alike(even)
    torch.testing.assert_close(AverageFusion(None, blend)(maps).scores, even(maps).scores)


def test_an_average_of_maps_is_the_scores_of_the_mean_map(maps: list[Tensor]) -> None:
    mean = softmax_scores((maps[0] + maps[1]) / 2)
    torch.testing.assert_close(AverageFusion(None, "maps")(maps).scores, mean)


@pytest.mark.parametrize("blend", ["scores", "maps"])
def test_scores_are_distributions(maps: list[Tensor], blend: str) -> None:
    scores = attentive(blend)(maps).scores
    torch.testing.assert_close(scores.on_a.sum(2), torch.ones(2, 12).double())
    torch.testing.assert_close(scores.on_b.sum(1), torch.ones(2, 12).double())


def test_a_product_is_in_proportion_to_both_maps(maps: list[Tensor]) -> None:
    scores, attention = ProductFusion()(maps)
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
