"""What a network that starts plainly computes before it is trained."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dccnet.network.config import PRESETS
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.context import SpatialContextEncoder, self_similarity
from dccnet.network.correlation import l2_normalise
from dccnet.network.fusion import DynamicFusion
from dccnet.network.model import DCCNet
from dccnet.training.recipes import recipe
from dccnet.training.starts import (
    SIMILARITY_SHARE,
    count_votes,
    pass_similarity_through,
    start_plain,
    vote_kernel,
    weight_alike,
)
from tests.helpers.commands import Cli


def voted(c: Tensor, kernel: int, both_ways: bool) -> Tensor:
    network = NeighbourhoodConsensus((kernel, 3), (2, 1)).double()
    count_votes(network, both_ways)
    (result,) = network([c])
    return result


def volume(*matches: tuple[int, int, int, int]) -> Tensor:
    c = torch.zeros(1, 1, 7, 7, 7, 7, dtype=torch.float64)
    for match in matches:
        c[(0, 0, *match)] = 1
    return c


def test_neighbours_on_the_same_side_vote() -> None:
    alone = voted(volume((3, 3, 3, 3)), 5, False)[0, 0, 3, 3, 3, 3]
    same = voted(volume((3, 3, 3, 3), (3, 4, 3, 4)), 5, False)[0, 0, 3, 3, 3, 3]
    other = voted(volume((3, 3, 3, 3), (3, 4, 3, 2)), 5, False)[0, 0, 3, 3, 3, 3]
    above = voted(volume((3, 3, 3, 3), (2, 3, 4, 3)), 5, False)[0, 0, 3, 3, 3, 3]
    assert same > 1.5 * alone and other < 1.1 * alone and above < 1.1 * alone


def test_of_votes_of_both_ways_the_more_count() -> None:
    """Not the sum of both: the one way's and the mirrored volume's, whichever is larger at each match."""
    torch.manual_seed(0)
    c = torch.rand(1, 1, 4, 5, 4, 5, dtype=torch.float64)
    network = NeighbourhoodConsensus((5,), (1,)).double()
    count_votes(network, False)
    (one_way,) = network([c])
    other_way = network([c.flip(5)])[0].flip(5)
    both = voted(c, 5, True)
    # A chain of kernels is symmetric in the two images here, so that its two passes give the same.
    ratio = both / torch.maximum(one_way, other_way)
    widths = voted(volume((3, 3, 3, 3)), 5, True).amax() / network([volume((3, 3, 3, 3))])[0].amax()
    torch.testing.assert_close(ratio, widths.expand_as(ratio))


@pytest.mark.parametrize("channels", [(1,), (2, 1), (3, 1), (8, 1), (16, 16, 1), (6, 4, 1)])
@pytest.mark.parametrize("both_ways", [False, True])
def test_any_number_of_channels_votes(channels: tuple[int, ...], both_ways: bool) -> None:
    network = NeighbourhoodConsensus((3,) * len(channels), channels)
    count_votes(network, both_ways)
    with torch.no_grad():
        (result,) = network([volume((3, 3, 3, 3)).float()])
    assert int(result.argmax()) == int(volume((3, 3, 3, 3)).argmax()) and result.amax() > 0
    assert float(result.amin()) >= 0


@pytest.mark.parametrize("both_ways", [False, True])
def test_plain_context_is_similarity_alone(both_ways: bool) -> None:
    torch.manual_seed(0)
    z = l2_normalise(torch.randn(2, 6, 5, 7))
    s = l2_normalise(self_similarity(z, 3))
    taken = 6 if both_ways else 9
    encoder = SpatialContextEncoder(6, 3, taken)
    pass_similarity_through(encoder, both_ways)
    g = encoder(z)
    if both_ways:  # a picture's mirror image has the same features, mirrored
        torch.testing.assert_close(encoder(z.flip(3)), g.flip(3))
        left, middle, right = s.view(2, 3, 3, 5, 7).unbind(2)
        s = torch.cat([(left + right) / math.sqrt(2), middle], dim=1)
    assert float(s.amin()) < 1 / 3 < float(s.amax())
    torch.testing.assert_close(g, math.sqrt(SIMILARITY_SHARE) * (s - 1 / 3).clamp(min=0))


def test_votes_tell_neighbouring_matches_apart_and_reach_far() -> None:
    weights = vote_kernel(7)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    torch.testing.assert_close(weights, weights.permute(2, 3, 0, 1))  # either picture may be A
    centre = weights[3, 3, 3, 3]
    assert centre > 2 * weights[3, 3, 3, 4] and centre > 1.5 * weights[3, 4, 3, 4]
    assert weights[0, 0, 0, 0] > 0.01 * centre


def test_both_maps_begin_with_the_same_trust() -> None:
    fusion = DynamicFusion((3, 4), None)
    weight_alike(fusion)
    attention = fusion([torch.rand(1, 1, 3, 4, 3, 4) for _ in range(2)]).attention
    assert attention is not None and bool((attention.on_a == 0.5).all())


def test_small_has_the_room_that_its_recipe_asks_for() -> None:
    start_plain(DCCNet(PRESETS["small"]), both_ways=recipe("small")["opposite"] > 0)


def test_too_few_channels_for_a_plain_start(dcc_here: Cli, pictures: list[Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused = dcc_here(
        "train", "--preset=tiny", "--start=plain", "--weights=random", "--set=context_channels=128",
        "--synthetic", pictures[0].parent, "-o", run,
    )  # fmt: skip
    assert refused.returncode == 2 and "context_channels of at least" in refused.stderr
    assert "--set context_channels=" in refused.stderr
    assert not run.exists()
