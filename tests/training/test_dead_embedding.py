"""Embeddings that could not learn are drawn again; others stay as the authors' code would draw them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dccnet.export.bundles.samples import PICTURES
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.runtime.messages import show_messages
from dccnet.training.dead_embedding import draw_living_embedding, is_dead
from dccnet.training.initial import initial_network, revive_embedding
from dccnet.training.run import check_run
from tests.helpers.networks import SMALL, build

TINY = SMALL.replace(consensus_channels=(8, 1))
DEAD, LIVING = 11, 0
"""Seeds."""


def embedding_of(config: ModelConfig, seed: int, both_ways: bool = False) -> tuple[int, list[torch.Tensor]]:
    model = build(config, seed)
    draws = draw_living_embedding(model, both_ways)
    assert model.fusion is not None and model.fusion.embedding is not None
    assert not is_dead(model.consensus, model.fusion.embedding)
    return draws, [p.detach().clone() for p in model.fusion.embedding.parameters()]


def test_a_living_embedding_keeps_its_weights() -> None:
    model = build(TINY, LIVING)
    assert model.fusion is not None and model.fusion.embedding is not None
    before = [p.detach().clone() for p in model.fusion.embedding.parameters()]
    draws, after = embedding_of(TINY, LIVING)
    assert draws == 0 and all(map(torch.equal, before, after))


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_dead_embedding_is_drawn_again_as_the_seed_says(both_ways: bool) -> None:
    model = build(TINY, DEAD)
    assert model.fusion is not None and model.fusion.embedding is not None
    assert is_dead(model.consensus, model.fusion.embedding)
    draws, weights = embedding_of(TINY, DEAD, both_ways)
    again, same = embedding_of(TINY, DEAD, both_ways)
    assert draws == again > 0 and all(map(torch.equal, weights, same))
    if both_ways:
        assert torch.equal(weights[0][4:], weights[0][:4].flip(5))


def test_a_start_of_a_run_does_so(capfd: pytest.CaptureFixture[str]) -> None:
    show_messages()
    model = initial_network(TINY, "random", "random", both_ways=False, seed=DEAD)
    assert model.fusion is not None and model.fusion.embedding is not None
    assert not is_dead(model.consensus, model.fusion.embedding)
    assert "correlation embedding could not learn" in capfd.readouterr().err


def test_the_first_process_alone_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    show_messages()
    model = build(TINY, DEAD)
    revive_embedding(model, both_ways=False, tell=False)
    assert model.fusion is not None and model.fusion.embedding is not None
    assert not is_dead(model.consensus, model.fusion.embedding)
    assert capfd.readouterr().err == ""


def test_a_network_that_is_only_checked_is_not_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    show_messages()
    torch.manual_seed(DEAD)
    check_run(str(tmp_path / "run"), TINY, {"synthetic": str(PICTURES)})
    assert capfd.readouterr().err == ""


def test_networks_without_an_embedding_are_left_alone() -> None:
    assert draw_living_embedding(build(SMALL.replace(embedding=False)), False) == 0


def test_the_documented_share_is_dead() -> None:
    config, dead = PRESETS["tiny"], 0
    for seed in range(40):
        torch.manual_seed(seed)
        both = [NeighbourhoodConsensus(config.consensus_kernels, config.consensus_channels) for _ in "ab"]
        dead += is_dead(*both)
    assert dead == 16  # docs/tiny.md
