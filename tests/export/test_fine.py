"""Fine features: where they lie, in exported graphs, and what refinement by them does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from dccnet.export.build import export_bundle
from dccnet.export.outcome import failure, summary
from dccnet.inference import TorchMatcher, fine_grid
from dccnet.network.backbone import build_backbone
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Side
from dccnet.runtime.errors import UsageError
from dccnet.runtime.geometry import cell_pixels
from dccnet.runtime.manifest import FINE
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.writers import to_dict
from tests.helpers.bundles import Bundles
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.networks import SMALL, build


@pytest.fixture(scope="module")
def fine_bundle(
    small_model: DCCNet, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    path = tmp_path_factory.mktemp("fine") / "bundle"
    return export_bundle(small_model, path, pictures, fine=True)


@pytest.mark.parametrize("size", [(96, 80), (65, 99), (66, 97)])
def test_the_first_fine_feature_lies_at_the_centre_of_what_it_sees(size: tuple[int, int]) -> None:
    backbone = build_backbone("efficientnet-lite0")
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):  # positive weights: every pixel that is seen has a gradient
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    image = torch.ones(1, 3, *size, requires_grad=True)
    _, (seen,) = backbone._run(image, list(backbone.trunk.children())[:4], ("block2",))
    row, column = (side // 2 for side in seen.shape[2:])
    seen[0, :, row, column].sum().backward()
    assert image.grad is not None
    extents = [np.flatnonzero(image.grad.abs().sum((0, 1, axis)).numpy()) for axis in (3, 2)]
    centre = [(extent[0] + extent[-1]) / 2 for extent in extents]
    first = backbone.first_fine_centre(size)
    assert centre == [first[0] + 4 * row, first[1] + 4 * column]
    assert seen.shape[2:] == (-(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.parametrize(("name", "first"), [("resnet18", 0.0), ("vgg16", 1.5)])
def test_backbones_with_even_padding_start_where_they_should(name: str, first: float) -> None:
    assert build_backbone(name).first_fine_centre((96, 80)) == (first, first)


def test_a_backbone_without_fine_features_says_so(small_model: DCCNet, tmp_path: Path) -> None:
    model = build(SMALL)
    model.backbone._fine = ""
    with pytest.raises(UsageError, match="remove --fine"):
        export_bundle(model, tmp_path / "bundle", [], fine=True)
    with pytest.raises(ValueError, match="no fine features"):
        TorchMatcher(model, refine=True)


@pytest.mark.parametrize("half", [False, True])
def test_exported_fine_features_are_pytorchs(
    half: bool,
    fine_bundle: Bundle,
    small_model: DCCNet,
    pictures: list[Path],
    photos: list[Image],
    tmp_path: Path,
) -> None:
    bundle = fine_bundle
    if half:
        bundle = export_bundle(small_model, tmp_path / "bundle", pictures[:2], fine=True, half=True)
    manifest, report = bundle.manifest, bundle.manifest.verification
    assert Bundle.open(bundle.path).manifest == manifest and manifest.fine == fine_grid(small_model)
    spec = manifest.graphs["encoder"].outputs[-1]
    height, width = SMALL.image_size
    assert (spec.name, spec.dtype, spec.shape[2:]) == (FINE, "float16", (height // 4, width // 4))
    assert FINE not in {tensor.name.rpartition("_")[0] for tensor in manifest.graphs["matcher"].inputs}
    assert report is not None and report.passed and report.largest_fine_difference is not None
    assert "fine features differ by at most" in summary(report)
    found = Matcher.open(bundle).match(*photos[:2])
    true = TorchMatcher(small_model, refine=True).match(*photos[:2])
    assert found.rule == true.rule == "refined" and found.fine_b is not None and true.fine_b is not None
    difference = np.abs(found.fine_b.cells_last() - true.fine_b.cells_last()).max()
    assert difference <= (0.05 if half else 2e-3)
    if not half:
        moved = [result.matches("b").points_a for result in (found, true)]
        far = np.linalg.norm(moved[0] - moved[1], axis=1) > 0.5  # a best match or a peak of another place
        assert far.mean() < 0.02


def test_a_disagreement_of_fine_features_is_told(fine_bundle: Bundle) -> None:
    report = fine_bundle.manifest.verification
    assert report is not None
    wrong = dataclasses.replace(report, passed=False, largest_fine_difference=0.1)
    assert "of fine features 0.002" in (failure(wrong) or "")


@pytest.mark.parametrize("from_", ["a", "b"])
def test_a_shift_by_less_than_a_cell_is_found(
    fine_bundle: Bundle, photos: list[Image], from_: Side
) -> None:
    shift = 18  # pixels; a cell has 68 by 85
    a, b = photos[0][:-shift, :-shift], photos[0][shift:, shift:]
    matched = Matcher.open(fine_bundle).match(a, b)
    # Every cell matches the one at the same place.
    index = np.arange(matched.index_a.size).reshape(matched.index_a.shape)
    window = np.zeros((*index.shape, 25), np.float32)
    window[..., 12] = 1
    result = dataclasses.replace(matched, index_a=index, index_b=index, window_a=window, window_b=window)
    points = 20 + cell_pixels((9, 11), (a.shape[0] - 40, a.shape[1] - 40)).reshape(-1, 2)
    truth = points + (-shift if from_ == "a" else shift)
    coarse, fine = (
        np.median(np.linalg.norm(result.transfer(points, from_, rule=rule) - truth, axis=1))
        for rule in ("subcell", "refined")
    )
    assert coarse == pytest.approx(shift * 2**0.5) and fine < coarse / 3


def test_refinement_is_chosen_when_opening_and_for_a_pair(fine_bundle: Bundle, photos: list[Image]) -> None:
    pair = photos[:2]
    matcher, plain = Matcher.open(fine_bundle), Matcher.open(fine_bundle, refine=False)
    assert matcher.refines and not plain.refines
    assert matcher.match(*pair).rule == plain.match(*pair, refine=True).rule == "refined"
    assert plain.match(*pair).rule == matcher.match(*pair, refine=False).rule == "subcell"
    assert [r.rule for r in matcher.match_many([(pair[0], pair[1])])] == ["refined"]
    result = matcher.match(*pair)
    points = cell_pixels((5, 6), result.size_a).reshape(-1, 2)
    coarse, fine = (result.transfer(points, "a", rule=rule) for rule in ("subcell", "refined"))
    np.testing.assert_array_equal(plain.match(*pair).transfer(points, "a"), coarse)
    np.testing.assert_array_equal(result.transfer(points, "a"), fine)
    assert (coarse != fine).any() and to_dict(result)["transfer"] == "refined"
    height, width = result.size_b
    assert ((fine >= 0) & (fine <= [width - 1, height - 1])).all()
    with pytest.raises(ValueError, match="refine=True"):
        plain.match(*pair).transfer(points, "a", rule="refined")


def test_videos_are_refined_as_pairs_are(fine_bundle: Bundle, video: Path) -> None:
    with Matcher.open(fine_bundle).stream(video, points=[[40.0, 30.0]]) as stream:
        rules = {result.correspondences.rule for result in stream}
    assert rules == {"refined"}


def test_bundles_without_fine_features_match_as_before_and_cannot_refine(
    bundles: Bundles, photos: list[Image]
) -> None:
    bundle = bundles("float32", "stack")
    assert bundle.manifest.fine is None and not Matcher.open(bundle).refines
    with pytest.raises(UsageError, match="--fine"):
        Matcher.open(bundle, refine=True)
    with pytest.raises(UsageError, match="--fine"):
        Matcher.open(bundle).match(*photos[:2], refine=True)


def test_refine_on_the_command_line(
    fine_bundle: Bundle, bundle: Bundle, pictures: list[Path], dcc_here: Cli
) -> None:
    pair = [*pictures[:2], "--points", "30,40"]
    outputs = [
        dcc_here("match", fine_bundle.path, *pair, *options).stdout
        for options in ((), ("--refine",), ("--no-refine",))
    ]
    assert outputs[0] == outputs[1] != outputs[2]
    one_sentence(dcc_here("match", bundle.path, *pair, "--refine"), 2, "--fine", "--refine")


def test_encoders_in_other_programs_are_unchanged_but_for_one_output(fine_bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(
        str(fine_bundle.graph_path("encoder")), providers=["CPUExecutionProvider"]
    )
    assert [output.name for output in session.get_outputs()] == ["local", "context", FINE]
