"""What fusions blend: scores, as the released code does, or maps, as Eq. 15 does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dccnet.network.fusion import (
    AverageFusion,
    DynamicFusion,
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
    scores, attention, _ = attentive("maps")(maps)
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
    of_scores, of_maps = attentive("scores")(maps), attentive("maps")(maps)
    torch.testing.assert_close(of_scores.attention, of_maps.attention)
    assert not torch.allclose(of_scores.scores.on_a, of_maps.scores.on_a)


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
