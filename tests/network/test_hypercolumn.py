"""Features of several levels of the backbone: what they are, and that they travel all the road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from dccnet.export.build import export_bundle
from dccnet.export.bundles.steps import read_steps
from dccnet.inference import TorchMatcher
from dccnet.network.backbone import BACKBONES, build_backbone, hypercolumn
from dccnet.network.correlation import l2_normalise
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import CheckpointError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.tensorrt.builder import BatchRange, BuildSettings, build_engine
from dccnet.runtime.tensorrt.library import RTX, load_library
from dccnet.weights.pretrained import load_backbone_weights
from tests.helpers.networks import ONE_BRANCH, SMALL, build

NAME = "efficientnet-lite0-hypercolumn"


def test_levels_have_equal_say_and_meet_at_their_corners() -> None:
    torch.manual_seed(0)
    fine, coarse = 100 * torch.rand(2, 3, 6, 5) + 7, torch.rand(2, 4, 3, 3)
    column = hypercolumn(fine, coarse)
    assert column.shape == (2, 7, 6, 5)
    for level in (column[:, :3], column[:, 3:]):
        torch.testing.assert_close(level.square().sum(1), torch.ones(2, 6, 5), rtol=1e-3, atol=0)
    torch.testing.assert_close(column[:, :3], l2_normalise(fine - fine.mean(dim=(2, 3), keepdim=True)))
    stretched = F.interpolate(coarse, size=(6, 5), mode="bilinear", align_corners=True)
    torch.testing.assert_close(stretched[..., 0, 0], coarse[..., 0, 0])
    centred = stretched - stretched.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(column[:, 3:], l2_normalise(centred))


def test_what_is_alike_everywhere_says_nothing() -> None:
    torch.manual_seed(0)
    fine, coarse = torch.rand(1, 3, 6, 5), torch.rand(1, 4, 3, 3)
    torch.testing.assert_close(hypercolumn(fine + 5, coarse - 3), hypercolumn(fine, coarse))


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.startswith("efficient")])
def test_channels_and_grid_are_as_registered(name: str) -> None:
    backbone = build_backbone(name)
    with torch.no_grad():
        features = backbone(torch.rand(1, 3, 64, 80))
    assert features.shape == (1, backbone.channels, *backbone.grid((64, 80)))


def test_levels_are_not_trained() -> None:
    backbone = build_backbone(NAME)
    backbone.unfreeze(0)
    with pytest.raises(ValueError, match="which cannot be trained"):
        backbone.unfreeze(1)


@pytest.mark.parametrize("half", [False, True])
def test_exported_and_compiled(
    half: bool, tmp_path: Path, pictures: list[Path], photos: list[Image]
) -> None:
    model = build(SMALL.replace(backbone=NAME, branches=("local",), **ONE_BRANCH))
    load_backbone_weights(model.backbone, NAME, "imagenet")
    bundle = export_bundle(model, tmp_path / "b", pictures, conv4d="stack", half=half)
    assert bundle.manifest.verified
    if not half:
        found, true = (m.match(*photos[:2]) for m in (Matcher.open(bundle.path), TorchMatcher(model)))
        assert np.mean(found.index_b == true.index_b) >= 0.999
    path = bundle.graph_path("encoder")
    assert "backbone.hypercolumn" in read_steps(onnx.load(str(path)), "encoder").values()
    pytest.importorskip("tensorrt_rtx")  # not made for every platform
    settings = BuildSettings(targets=("sm86",), batch=BatchRange(1, 1, 8))
    built = build_engine(load_library(RTX), "encoder", bundle.manifest.graphs["encoder"], path, settings)
    assert built.record.precision == ("float16" if half else "float32")


def test_two_backbones_share_every_similarity() -> None:
    """A dot product is the mean of those of both backbones, with their weights."""
    name = "efficientnet-lite1-lite2-hypercolumn"
    both = build_backbone(name)
    load_backbone_weights(both, name, "random")
    assert both.beside is not None
    image, share = torch.rand(1, 3, 64, 80), BACKBONES[name].share
    alone = build_backbone("efficientnet-lite1-hypercolumn")
    alone.trunk.load_state_dict(both.trunk.state_dict())
    with torch.no_grad():
        first, second = (l2_normalise(backbone(image))[0].flatten(1) for backbone in (alone, both.beside))
        features = both(image)[0].flatten(1)
    expected = (1 - share) * first.T @ first + share * second.T @ second
    torch.testing.assert_close(features.T @ features, expected, rtol=1e-3, atol=1e-3)


def test_two_backbones_are_folded_halved_and_filled_together(tmp_path: Path) -> None:
    name = "efficientnet-lite1-lite2-hypercolumn"
    model = build(SMALL.replace(backbone=name, image_size=(64, 64)))
    load_backbone_weights(model.backbone, name, "random")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        half = model.in_half().backbone_features(image)
        similarity = (half.float() * model.backbone_features(image)).sum(dim=1)
    assert half.dtype == torch.float16 and similarity.min() > 0.99
    norms = [m for m in model.in_half().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not norms
    with pytest.raises(CheckpointError, match="two backbones, which one file cannot fill"):
        load_backbone_weights(model.backbone, name, str(tmp_path / "weights.pth"))
