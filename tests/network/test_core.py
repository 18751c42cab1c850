"""The network's parts beyond the golden values: shapes, symmetries, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.network.backbone import BACKBONES, build_backbone
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.context import self_similarity
from dccnet.network.correlation import correlate, l2_normalise, mutual_matching
from dccnet.network.fusion import softmax_scores
from dccnet.network.loss import matching_score, weak_loss
from dccnet.network.matching import best_matches
from dccnet.network.model import DCCNet, GridMismatchError
from tests.helpers.networks import ABLATIONS, SMALL, build


def small(name: str) -> ModelConfig:
    return SMALL.replace(**ABLATIONS[name])


@pytest.mark.parametrize("name", ABLATIONS)
def test_presets_differ_from_dccnet_exactly_as_table_4_says(name: str) -> None:
    assert PRESETS[name] == PRESETS["dccnet"].replace(**ABLATIONS[name])


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_gives_distributions_over_cells(name: str) -> None:
    model = build(small(name))
    images = torch.rand(2, 3, 96, 80), torch.rand(2, 3, 96, 80)
    scores = model(*images).scores
    cells = model.grid[0] * model.grid[1]
    assert scores.on_a.shape == scores.on_b.shape == (2, cells, cells)
    torch.testing.assert_close(scores.on_a.sum(2), torch.ones(2, cells))
    torch.testing.assert_close(scores.on_b.sum(1), torch.ones(2, cells))


def test_swapping_the_images_swaps_the_matches() -> None:
    model = build(SMALL)
    a, b = torch.rand(1, 3, 96, 80), torch.rand(1, 3, 96, 80)
    forward, backward = best_matches(model(a, b).scores), best_matches(model(b, a).scores)
    torch.testing.assert_close(forward.score_a, backward.score_b)
    assert torch.equal(forward.index_a, backward.index_b)


def test_consensus_is_symmetric_on_unequal_grids() -> None:
    torch.manual_seed(0)
    consensus = NeighbourhoodConsensus((3, 5), (2, 1)).double()
    c = torch.rand(1, 1, 3, 4, 5, 2, dtype=torch.float64)
    (plain,), (swapped,) = consensus([c]), consensus([c.permute(0, 1, 4, 5, 2, 3)])
    torch.testing.assert_close(plain, swapped.permute(0, 1, 4, 5, 2, 3))


@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from([1, 3, 5, 9]),
)
@settings(max_examples=40, deadline=None)
def test_self_similarity_is_the_dot_product_with_every_neighbour(
    batch: int, channels: int, h: int, w: int, kernel: int
) -> None:
    z = torch.randn(batch, channels, h, w, generator=torch.Generator().manual_seed(h * 10 + w))
    s = self_similarity(z, kernel)
    r = kernel // 2
    for dy in range(kernel):
        for dx in range(kernel):
            for y in range(h):
                for x in range(w):
                    v, u = y + dy - r, x + dx - r
                    inside = 0 <= v < h and 0 <= u < w
                    expected = (z[:, :, y, x] * z[:, :, v, u]).sum(1) if inside else torch.zeros(batch)
                    torch.testing.assert_close(s[:, dy * kernel + dx, y, x], expected)


def test_correlation_and_mutual_matching_follow_their_definitions() -> None:
    a, b = torch.rand(2, 5, 2, 3), torch.rand(2, 5, 4, 2)
    c = correlate(a, b)
    torch.testing.assert_close(c[1, 0, 1, 2, 3, 0], a[1, :, 1, 2] @ b[1, :, 3, 0])
    value = c[0, 0, 0, 1, 2, 1]
    over_a, over_b = c[0, 0, :, :, 2, 1].max(), c[0, 0, 0, 1].max()
    expected = value * (value / (over_a + 1e-5)) * (value / (over_b + 1e-5))
    torch.testing.assert_close(mutual_matching(c)[0, 0, 0, 1, 2, 1], expected)


def test_l2_norm_has_its_epsilon_inside_the_root() -> None:
    x = torch.full((1, 4, 1, 1), 1e-3)
    assert l2_normalise(x).flatten()[0] == pytest.approx(1e-3 / np.sqrt(4e-6 + 1e-6))


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(96, 80), (100, 65)])
def test_backbones_give_the_grid_and_channels_that_they_promise(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name)
    with torch.no_grad():
        features = backbone(torch.rand(1, 3, *size))
    assert features.shape == (1, backbone.channels, *backbone.grid(size))


def test_backbone_is_frozen_and_stays_in_eval_mode() -> None:
    model = build(SMALL).train()
    assert not any(module.training for module in model.backbone.modules())
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert model.consensus.training


def test_normalisation_is_the_backbones_own() -> None:
    resnet, lite = build_backbone("resnet18"), build_backbone("efficientnet-lite0")
    assert resnet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (lite.mean * 255).flatten().tolist() == pytest.approx([127.0] * 3)
    assert (lite.std * 255).flatten().tolist() == pytest.approx([128.0] * 3)
    assert not [name for name in resnet.state_dict() if name in ("mean", "std")]


def test_another_image_size_is_refused_by_name_where_the_fusion_is_welded() -> None:
    model = build(SMALL)
    with pytest.raises(GridMismatchError, match=r"trained at 96x80 .* 6x5 .* 6x6 cells"):
        model.encode(torch.rand(1, 3, 96, 96))


def test_ncnet_takes_any_size_and_unequal_ones() -> None:
    model = build(small("ncnet"))
    scores = model(torch.rand(1, 3, 64, 96), torch.rand(1, 3, 80, 48)).scores
    assert scores.on_a.shape == (1, 4 * 6, 5 * 3)


def test_loss_falls_when_true_pairs_match_better_and_reaches_only_what_is_trained() -> None:
    model = build(SMALL).train()
    z = l2_normalise(torch.rand(3, 256, 6, 5))
    loss = weak_loss(model, model.branch_features(z), model.branch_features(z))
    loss.loss.backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None}
    assert reached == {n for n, p in model.named_parameters() if p.requires_grad}
    assert loss.loss.isfinite()


def test_loss_of_one_pair_is_refused() -> None:
    model = build(SMALL)
    features = model.branch_features(torch.rand(1, 256, 6, 5))
    with pytest.raises(ValueError, match="at least 2 pairs"):
        weak_loss(model, features, features)


def test_matching_score_of_certainty_is_one_and_of_ignorance_one_over_cells() -> None:
    certain = softmax_scores(1000 * torch.eye(4).view(1, 1, 2, 2, 2, 2))
    ignorant = softmax_scores(torch.zeros(1, 1, 2, 2, 2, 2))
    assert float(matching_score(certain)) == pytest.approx(1)
    assert float(matching_score(ignorant)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "alexnet"}, "unknown backbone"),
        ({"consensus_kernels": (4, 3)}, "must be odd"),
        ({"consensus_channels": (4, 2)}, "end in 1"),
        ({"consensus_channels": (4, 4, 1)}, "same number of layers"),
        ({"branches": ("context", "local")}, "in this order"),
        ({"branches": ("local",)}, "nothing to fuse"),
        ({"fusion": None}, "two branches need fusion"),
        ({"fusion": "product"}, "embedding must be false"),
        ({"context_kernel": 4}, "must be odd"),
        ({"context_kernel": 9.0}, "whole number"),
        ({"consensus_channels": (1.5, 1)}, "whole numbers"),
        ({"embedding": "no"}, "true or false"),
        ({"auxiliary_loss": 1}, "true or false"),
        ({"image_size": (16, 400)}, "from 32 to 4096"),
        ({"blend": "colours"}, "blend must be one of scores, maps"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DCCNet(SMALL.replace(**change))


def test_configuration_survives_json() -> None:
    for config in PRESETS.values():
        assert ModelConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="unknown fields"):
        ModelConfig.from_json('{"colour": "red"}')
