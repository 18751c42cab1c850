"""4D convolutions that could not learn are drawn again; others stay as the authors' code draws them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dccnet.export.bundles.samples import PICTURES
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.runtime.messages import show_messages
from dccnet.training.dead_starts import dead, draw_living_consensus, draw_living_embedding, silent
from dccnet.training.initial import initial_network, revive
from dccnet.training.run import check_run
from tests.helpers.networks import SMALL, build

TINY = SMALL.replace(consensus_channels=(8, 1))
DEAD, LIVING = 11, 0
"""Seeds."""
THIN, SILENT = SMALL.replace(consensus_channels=(2, 1), embedding=False), 12


def embedding_of(config: ModelConfig, seed: int, both_ways: bool = False) -> tuple[int, list[torch.Tensor]]:
    model = build(config, seed)
    draws = draw_living_embedding(model, both_ways)
    assert model.fusion is not None and model.fusion.embedding is not None
    assert not dead(model.consensus, model.fusion.embedding)
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
    assert dead(model.consensus, model.fusion.embedding)
    draws, weights = embedding_of(TINY, DEAD, both_ways)
    again, same = embedding_of(TINY, DEAD, both_ways)
    assert draws == again > 0 and all(map(torch.equal, weights, same))
    if both_ways:
        assert torch.equal(weights[0][4:], weights[0][:4].flip(5))


def test_a_start_of_a_run_does_so(capfd: pytest.CaptureFixture[str]) -> None:
    show_messages()
    model = initial_network(TINY, "random", "random", both_ways=False, seed=DEAD)
    assert model.fusion is not None and model.fusion.embedding is not None
    assert not dead(model.consensus, model.fusion.embedding)
    assert "correlation embedding could not learn" in capfd.readouterr().err


def test_the_first_process_alone_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    show_messages()
    model = build(TINY, DEAD)
    revive(model, both_ways=False, tell=False)
    assert model.fusion is not None and model.fusion.embedding is not None
    assert not dead(model.consensus, model.fusion.embedding)
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


@pytest.mark.parametrize("both_ways", [False, True])
def test_silent_consensus_is_drawn_again_as_the_seed_says(both_ways: bool) -> None:
    def drawn() -> tuple[int, list[torch.Tensor]]:
        model = build(THIN, SILENT)
        assert silent(model.consensus)
        draws = draw_living_consensus(model, both_ways)
        assert not silent(model.consensus)
        return draws, [weight.detach().clone() for weight, _ in model.consensus.weights]

    draws, weights = drawn()
    again, same = drawn()
    assert draws == again > 0 and all(map(torch.equal, weights, same))
    if both_ways:
        assert torch.equal(weights[0][1:], weights[0][:1].flip(5))


def test_consensus_that_speaks_keeps_its_weights() -> None:
    model = build(THIN, LIVING)
    before = [weight.detach().clone() for weight, _ in model.consensus.weights]
    assert draw_living_consensus(model, False) == 0
    assert all(torch.equal(old, new) for old, (new, _) in zip(before, model.consensus.weights, strict=True))


def test_a_start_of_a_run_speaks(capfd: pytest.CaptureFixture[str]) -> None:
    show_messages()
    assert not silent(initial_network(THIN, "random", "random", both_ways=False, seed=SILENT).consensus)
    assert "4D convolutions could not learn at the initial weights: drawn again" in capfd.readouterr().err


def test_the_documented_share_is_silent() -> None:
    def share(channels: int) -> int:
        found = 0
        for seed in range(400):
            torch.manual_seed(seed)
            found += silent(NeighbourhoodConsensus((3, 3), (channels, 1)))
        return found

    assert [share(channels) for channels in (2, 4, 8)] == [12, 2, 0]  # docs/training.md


def test_the_documented_share_is_dead() -> None:
    config, found = PRESETS["tiny"].replace(consensus_channels=(8, 1)), 0
    for seed in range(40):
        torch.manual_seed(seed)
        both = [NeighbourhoodConsensus(config.consensus_kernels, config.consensus_channels) for _ in "ab"]
        found += dead(*both)
    assert found == 16  # docs/tiny.md
