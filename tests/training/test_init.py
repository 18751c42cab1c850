"""``dcc init``: networks before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dccnet.network.config import PRESETS
from dccnet.network.model import DCCNet
from dccnet.training.starts import start_both_ways, start_plain
from dccnet.weights.checkpoint import load_checkpoint
from dccnet.weights.pretrained import load_backbone_weights
from tests.helpers.commands import Cli, one_sentence


@pytest.fixture(scope="module")
def small(dcc_here: Cli, tmp_path_factory: pytest.TempPathFactory) -> DCCNet:
    path = tmp_path_factory.mktemp("init") / "small.safetensors"
    made = dcc_here("init", "--preset", "small", "-o", path)
    assert made.returncode == 0 and made.stdout.strip() == str(path)
    assert made.stderr.startswith("plain start, imagenet backbone; ")
    return load_checkpoint(path)


def test_small_starts_as_its_recipe_says(small: DCCNet) -> None:
    torch.manual_seed(1)  # for the channels that a plain start does not use
    expected = DCCNet(PRESETS["small"])
    start_plain(expected, both_ways=True)
    assert small.context_encoder is not None and expected.context_encoder is not None
    for ours, theirs in (
        (small.consensus, expected.consensus),
        (small.context_encoder, expected.context_encoder),
    ):
        for name, tensor in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], tensor)


def test_a_plain_start_has_imagenets_backbone(small: DCCNet) -> None:
    expected = DCCNet(PRESETS["small"])
    load_backbone_weights(expected.backbone, expected.config.backbone, "imagenet")
    for name, tensor in expected.backbone.state_dict().items():
        torch.testing.assert_close(small.backbone.state_dict()[name], tensor)


def test_a_random_start_on_request_and_by_default_for_others(dcc_here: Cli, tmp_path: Path) -> None:
    torch.manual_seed(4)  # whose 4D convolutions are not silent
    expected = DCCNet(PRESETS["small"])
    start_both_ways(expected)
    path = tmp_path / "m.safetensors"
    made = dcc_here("init", "--preset", "small", "--start", "random", "--seed", "4", "-o", path)
    assert made.stderr.startswith("random start, random backbone; ")
    for name, tensor in expected.consensus.state_dict().items():
        torch.testing.assert_close(load_checkpoint(path).consensus.state_dict()[name], tensor)
    made = dcc_here("init", "--preset", "tiny", "-o", path)
    assert made.stderr.startswith("random start, random backbone; ")


def test_a_plain_start_needs_context_channels(dcc_here: Cli, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    arguments = ("init", "--preset", "tiny", "--start", "plain", "--weights", "random", "-o", path)
    refused = dcc_here(*arguments, "--set", "context_channels=224")
    one_sentence(refused, 2, "--set context_channels=NUMBER")
    assert not path.exists()
    made = dcc_here(*arguments, "--set", "context_channels=225")
    assert made.returncode == 0 and "plain start, random backbone" in made.stderr, made.stderr
