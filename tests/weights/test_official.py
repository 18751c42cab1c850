"""The authors' files, rebuilt with random values in the layout that spec §5 describes."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import pytest
import torch
from torchvision import models

from dccnet.network.conv4d import LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import CheckpointError
from dccnet.weights.official import import_official
from tests.helpers.official import State, backbone_state, consensus_state, dccnet_state, write


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    state = dccnet_state()
    return write(tmp_path_factory.mktemp("official") / "best_dccnet.pth.tar", state), state


def test_all_580_tensors_arrive_in_their_places(official: tuple[Path, State]) -> None:
    path, state = official
    assert len(state) == 580
    model = import_official(path)
    ours = model.state_dict()
    assert len(ours) == 580
    assert model.config.image_size == (400, 400)
    assert torch.equal(
        ours["backbone.trunk.layer3.22.conv3.weight"], state["FeatureExtraction.model.6.22.conv3.weight"]
    )
    stored = state["DynamicFusionNet.extract_corrfeas.conv.2.weight"]
    natural = ours["fusion.embedding.layers.1.weight"]
    # stored (k_hA, out, in, k_wA, k_hB, k_wB), ours (out, in, k_hA, k_wA, k_hB, k_wB)
    assert natural[7, 3, 1, 2, 4, 0] == stored[1, 7, 3, 2, 4, 0]


def test_the_imported_network_runs_at_400x400(official: tuple[Path, State]) -> None:
    model = import_official(official[0])
    model.lower(LOWERINGS["spectral"])  # the usual one takes five times as long
    with torch.no_grad():
        z = model.backbone_features(torch.rand(1, 3, 400, 400))
        features = model.branch_features(z)
    assert z.shape == (1, 1024, 25, 25)
    assert features["context"].shape == (1, 1024, 25, 25)
    with torch.no_grad():
        scores = model.match(features, features).scores
    torch.testing.assert_close(scores.on_a.sum(2), torch.ones(1, 625))


def test_prefixes_of_old_files_are_understood(tmp_path: Path) -> None:
    state = backbone_state("resnet18")
    state.update(consensus_state("NeighConsensus", (3, 3), (16, 1)))
    renamed = collections.OrderedDict(
        (f"module.{key.replace('.model.', '.vgg.')}", value)
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    )
    model = import_official(write(tmp_path / "ivd.pth.tar", renamed))
    assert model.config.branches == ("local",)
    assert model.config.consensus_kernels == (3, 3)
    assert model.config.consensus_channels == (16, 1)
    assert model.config.backbone == "resnet18"


def test_vgg_ncnet(tmp_path: Path) -> None:
    features = models.vgg16(weights=None).features[:24]
    state: State = collections.OrderedDict(
        (f"FeatureExtraction.model.{key}", value) for key, value in features.state_dict().items()
    )
    state.update(consensus_state("NeighConsensus", (5, 5, 5), (16, 16, 1)))
    assert import_official(write(tmp_path / "v.pth.tar", state)).config.backbone == "vgg16"


@pytest.mark.parametrize(
    "names",
    [
        ["NeighConsensus.conv.2.bias", "FeatureExtraction.model.1.weight"],
        ["NeighConsensus.conv.2.weight", "DynamicFusionNet.att.0.bias"],
        ["SpatialContextEncoder.embeddingFea.0.weight", "DynamicFusionNet.att.0.weight"],
        ["NeighConsensus.conv.4.weight", "FeatureExtraction.model.6.22.conv3.weight"],
    ],
)
def test_every_missing_tensor_is_named_and_no_other(
    official: tuple[Path, State], tmp_path: Path, names: list[str]
) -> None:
    state = collections.OrderedDict(official[1])
    shapes = [tuple(state.pop(name).shape) for name in names]
    with pytest.raises(CheckpointError) as error:
        import_official(write(tmp_path / "x.pth.tar", state))
    problems = str(error.value).split("network: ")[1].split("; ")
    assert sorted(problems) == sorted(f"missing {n} {s}" for n, s in zip(names, shapes, strict=True))


def test_unexpected_and_misshapen_tensors_are_named(official: tuple[Path, State], tmp_path: Path) -> None:
    state = collections.OrderedDict(official[1])
    state["Surprise.weight"] = state.pop("DynamicFusionNet.att.0.bias")
    state["SpatialContextEncoder.embeddingFea.0.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as error:
        import_official(write(tmp_path / "x.pth.tar", state))
    assert sorted(str(error.value).split("network: ")[1].split("; ")) == [
        "SpatialContextEncoder.embeddingFea.0.bias is (3,) and should be (1024,)",
        "missing DynamicFusionNet.att.0.bias (2,)",
        "unexpected Surprise.weight",
    ]


def test_a_pickle_with_code_is_not_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {trap}",)

    path = write(tmp_path / "bomb.pth.tar", backbone_state("resnet18"), args=Bomb())
    with pytest.raises(CheckpointError, match="does not run code"):
        import_official(path)
    assert not trap.exists()


def test_other_files_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    text = tmp_path / "text.pth.tar"
    text.write_text("not a checkpoint")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pth.tar")
    torch.save({"state_dict": {1: torch.zeros(1)}}, tmp_path / "numbers.pth.tar")
    for path, message in (
        (text, "cannot be read"),
        (checkpoint, "cannot be read|no neighbourhood consensus"),
        (tmp_path / "other.pth.tar", "no neighbourhood consensus"),
        (tmp_path / "numbers.pth.tar", "no state_dict"),
        (tmp_path / "absent.pth.tar", "does not exist"),
    ):
        with pytest.raises(CheckpointError, match=message):
            import_official(path)


def test_the_published_type_is_a_dccnet(official: tuple[Path, State]) -> None:
    model = import_official(official[0])
    assert isinstance(model, DCCNet)
    assert model.config.auxiliary_loss and model.config.fusion == "dynamic"
