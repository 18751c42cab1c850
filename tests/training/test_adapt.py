"""Adapting features to pictures of one kind: the adapter, what is learnt from, and the command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dccnet.cli import dcc as cli
from dccnet.evaluation.pairs import Pair, facing_opposite, file_picture
from dccnet.network.config import ModelConfig
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import DataError, UsageError
from dccnet.training.adaptation.adapt import _at, _inside, _loss, _View, adapt
from dccnet.training.adaptation.labels import label
from dccnet.training.adaptation.settings import AdaptSettings
from dccnet.training.features import FeatureCache
from dccnet.training.starts import start_plain
from dccnet.training.synthetic import lattice, warped_view
from dccnet.weights.checkpoint import load_checkpoint, save_checkpoint
from dccnet.weights.pretrained import load_backbone_weights
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.networks import ONE_BRANCH, SMALL, build

CONFIG = ModelConfig(
    backbone="efficientnet-lite0",
    image_size=(128, 128),
    branches=("local",),
    consensus_kernels=(5, 1),
    consensus_channels=(2, 1),
    **ONE_BRANCH,
)
FEW = AdaptSettings(rank=16, steps=20, views=4, strength=1.0)


@pytest.fixture(scope="module")
def network() -> DCCNet:
    """With ImageNet's weights at its plain start: it matches."""
    model = build(CONFIG)
    load_backbone_weights(model.backbone, CONFIG.backbone, "imagenet")
    start_plain(model, both_ways=True)
    return model


@pytest.fixture(scope="module")
def pairs(photos: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Each photograph with a slightly turned and brighter one of itself."""
    folder, found = tmp_path_factory.mktemp("pairs"), []
    for i, photo in enumerate(photos[:3]):
        small = cv2.resize(photo, (160, 160))
        turned = cv2.warpAffine(
            small, cv2.getRotationMatrix2D((80, 80), 8, 1.05), (160, 160), borderMode=cv2.BORDER_REFLECT
        )
        a, b = folder / f"{i}a.png", folder / f"{i}b.png"
        cv2.imwrite(str(a), small)
        cv2.imwrite(str(b), cv2.convertScaleAbs(turned, alpha=1.1))
        found.append(Pair(file_picture(a), file_picture(b), "photo"))
    return found


@pytest.fixture(scope="module")
def adapted(network: DCCNet, pairs: list[Pair]) -> DCCNet:
    return adapt(network, pairs, FEW).model


def write_list(path: Path, pairs: list[Pair]) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["source_image", "target_image", "class", "flip"])
        rows.writerows([pair.source.file, pair.target.file, 1, 0] for pair in pairs)
    return path


def test_a_new_adapter_changes_nothing() -> None:
    plain, with_adapter = build(SMALL), build(SMALL.replace(adapter_rank=8))
    with_adapter.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(1, 3, *SMALL.image_size)
    with torch.no_grad():
        torch.testing.assert_close(
            with_adapter.backbone_features(image), plain.backbone_features(image), rtol=0, atol=2e-6
        )


def test_the_adapter_adds_a_linear_function_and_features_stay_of_unit_length() -> None:
    model = build(SMALL.replace(adapter_rank=8))
    assert model.adapter is not None
    torch.nn.init.normal_(model.adapter.up.weight)
    z = torch.randn(1, model.backbone.channels, 3, 4)
    z = z / z.norm(dim=1, keepdim=True)
    down, up = (layer.weight[:, :, 0, 0] for layer in (model.adapter.down, model.adapter.up))
    expected = z + torch.einsum("or,ri,bihw->bohw", up, down, z)
    with torch.no_grad():
        torch.testing.assert_close(model.adapter(z), expected, rtol=1e-4, atol=1e-4)
        lengths = model.backbone_features(torch.rand(1, 3, *SMALL.image_size)).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=1e-3, atol=0)


@pytest.mark.parametrize("rank", [-1, 5000, 1.5, True, "8"])
def test_a_rank_is_a_whole_number(rank: object) -> None:
    with pytest.raises(ValueError, match="adapter_rank must be a whole number"):
        SMALL.replace(adapter_rank=rank)


def test_matches_of_a_pair_are_labelled_where_it_lies(network: DCCNet, pairs: list[Pair]) -> None:
    found = label(network, FeatureCache(network, 10**8), pairs[0])
    assert not found.opposite and found.agreement > 0.3
    turn = cv2.getRotationMatrix2D((80, 80), 8, 1.05)
    pixels = (lattice((8, 8)) + 1) / 2 * 159
    truth = (pixels @ turn[:, :2].T + turn[:, 2]) / 159 * 2 - 1
    apart = np.linalg.norm(found.place.numpy().reshape(2, -1).T - truth, axis=1)
    trusted = found.trust.numpy().reshape(-1) > 0
    assert np.median(apart[trusted]) < 2 / 7  # a cell
    unlike = Pair(pairs[0].source, pairs[1].target, "photo")
    other = label(network, FeatureCache(network, 10**8), unlike)
    assert other.agreement < found.agreement - 0.1  # nothing of it is there


def test_things_that_face_opposite_ways_are_labelled_in_the_picture_as_it_is(
    network: DCCNet, pairs: list[Pair]
) -> None:
    """A picture and its mirror image: x changes sign."""
    pair = facing_opposite(Pair(pairs[1].target, pairs[1].target, "photo"))
    found = label(network, FeatureCache(network, 10**8), pair)
    assert found.opposite
    trusted = found.trust.numpy().reshape(-1) > 0
    expected = lattice((8, 8)) * [-1, 1]
    apart = np.linalg.norm(found.place.numpy().reshape(2, -1).T - expected, axis=1)
    assert trusted.mean() > 0.5 and np.median(apart[trusted]) < 0.1


def test_views_know_where_their_cells_lie(network: DCCNet, pairs: list[Pair]) -> None:
    """A field of places, looked up where a view's cells lie, returns these; mirrored views are mirrored."""
    field = torch.from_numpy(lattice((8, 8)).reshape(8, 8, 2)).float().movedim(2, 0)
    for index in (0, 1):
        view = warped_view(pairs[0].source, index, (1, 0), CONFIG.image_size)
        places = torch.from_numpy(view.warp(lattice((8, 8)))).float()
        inside = _inside(places) > 0
        torch.testing.assert_close(_at(field, places)[inside], places[inside], rtol=0, atol=1e-5)
        assert (places[7, 0] < places[0, 0]) == bool(index)


@torch.no_grad()
def test_the_loss_is_low_where_the_same_places_are_alike() -> None:
    model = build(CONFIG.replace(adapter_rank=2))
    places = torch.from_numpy(lattice(model.grid)).float()
    far = torch.cdist(places, torch.rand(model.backbone.channels, 2) * 2 - 1)
    features = torch.nn.functional.normalize((-(far**2) / 0.1).exp(), dim=1).T.reshape(-1, 8, 8)
    a = b = _View(features.half(), places)
    moved = _View(features.flip(2).half(), places)
    trust = torch.ones(len(places))
    losses = [_loss(model, torch.tensor(20.0), a, other, places, trust) for other in (b, moved)]
    right, wrong = (float(loss) for loss in losses if loss is not None)
    assert right < wrong - 1
    mirrored_places = places * torch.tensor([-1.0, 1.0])
    of_mirrored = _loss(model, torch.tensor(20.0), a, moved, mirrored_places, trust)
    assert of_mirrored is not None and float(of_mirrored) == pytest.approx(right, abs=1e-3)
    assert _loss(model, torch.tensor(20.0), a, b, places + 5, trust) is None  # no place in common


def test_training_lowers_the_loss(network: DCCNet, pairs: list[Pair]) -> None:
    first, last = (adapt(network, pairs, replace(FEW, steps=steps)).loss for steps in (10, 100))
    assert last < first - 0.1


def test_strength_scales_what_was_learnt(network: DCCNet, pairs: list[Pair], adapted: DCCNet) -> None:
    weaker = adapt(network, pairs, replace(FEW, strength=0.25)).model
    assert weaker.adapter is not None and adapted.adapter is not None
    torch.testing.assert_close(weaker.adapter.up.weight, 0.25 * adapted.adapter.up.weight)
    torch.testing.assert_close(weaker.adapter.down.weight, adapted.adapter.down.weight)


def test_adapted_networks_are_kept_and_not_adapted_again(
    adapted: DCCNet, pairs: list[Pair], tmp_path: Path
) -> None:
    save_checkpoint(adapted, tmp_path / "adapted.safetensors")
    read = load_checkpoint(tmp_path / "adapted.safetensors")
    assert read.config == adapted.config
    image = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.equal(read.backbone_features(image), adapted.backbone_features(image))
        half = read.in_half().backbone_features(image.half())
    torch.testing.assert_close(half.float(), adapted.backbone_features(image), rtol=0, atol=0.02)
    with pytest.raises(UsageError, match="adapted already"):
        adapt(read, pairs, FEW)


def test_there_must_be_something_to_learn_from(
    network: DCCNet, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("dccnet.training.adaptation.adapt.LEAST_AGREEMENT", 1.01)
        with pytest.raises(DataError, match="there is nothing to learn from"):
            adapt(network, pairs, FEW)
    with pytest.raises(DataError, match="or more --memory"):
        adapt(network, [pairs[0]], AdaptSettings(memory=1000))


def test_the_command_and_its_export(network: DCCNet, pairs: list[Pair], tmp_path: Path) -> None:
    """Export compares the adapted network with PyTorch."""
    listed = write_list(tmp_path / "pairs.csv", pairs)
    run = CliRunner().invoke
    output, model = tmp_path / "adapted.safetensors", tmp_path / "network.safetensors"
    save_checkpoint(network, model)
    options = ["--steps", "3", "--views", "2", "--rank", "4", "--json"]
    result = run(cli, ["adapt", str(model), "--data", str(listed), "-o", str(output), *options])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["pairs"] == said["listed"] == 3 and said["output"] == str(output)
    exported = run(cli, ["export", str(output), "-o", str(tmp_path / "bundle")])
    assert exported.exit_code == 0, exported.output


def test_bad_input_is_refused_in_a_sentence(
    dcc: Cli, dcc_here: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    missing = dcc("adapt", checkpoint, "--data", tmp_path / "no.csv", "-o", tmp_path / "x.safetensors")
    one_sentence(missing, 1, "no.csv")
    folder = dcc_here("adapt", checkpoint, "--data", tmp_path / "no.csv", "-o", tmp_path)
    one_sentence(folder, 2, "name a file in a folder that exists")
