"""Half precision: what the network casts, what the exporter proves, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import nn

from dccnet.export.build import export_bundle
from dccnet.export.bundles.ranges import LARGEST_FLOAT16, REQUIRED_HEADROOM, WidenedGraph, report
from dccnet.export.bundles.readback import layer_precisions, overall_precision
from dccnet.export.onnx_file import write_onnx
from dccnet.export.outcome import failure, summary
from dccnet.export.verify import lead
from dccnet.inference import TorchMatcher
from dccnet.network.backbone import BACKBONES, build_backbone
from dccnet.network.context import SpatialContextEncoder
from dccnet.network.conv4d import LOWERINGS, conv4d
from dccnet.network.correlation import correlate, l2_normalise, mutual_matching
from dccnet.network.fusion import softmax_scores
from dccnet.network.model import DCCNet
from dccnet.runtime.agreement import CRITERIA, criterion_for
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.matcher import Matcher
from dccnet.weights.checkpoint import save_checkpoint
from dccnet.weights.pretrained import load_backbone_weights
from tests.helpers.bundles import Bundles
from tests.helpers.commands import Cli
from tests.helpers.networks import PLAIN, SMALL, build, decisive


@pytest.fixture(scope="module")
def half_bundle(bundles: Bundles) -> Bundle:
    return bundles("float16", "spectral")


# The network ------------------------------------------------------------------------------------


def test_islands_compute_in_float32_whatever_comes_in() -> None:
    # 1024 squares of 16 are 262,144: beyond float16, and so would be their sum.
    features = torch.full((1, 1024, 2, 2), 16.0, dtype=torch.float16)
    unit = l2_normalise(features)
    assert unit.dtype == torch.float32
    torch.testing.assert_close(unit, torch.full_like(unit, 1 / 32), rtol=1e-6, atol=0)
    products = correlate(features, features)
    assert products.dtype == torch.float32
    torch.testing.assert_close(products, torch.full_like(products, 1024 * 256.0), rtol=1e-3, atol=0)
    tiny = torch.full((1, 1, 2, 2, 2, 2), 1e-6, dtype=torch.float16)  # 1e-5, added, is hardly a float16
    torch.testing.assert_close(mutual_matching(tiny), mutual_matching(tiny.float()), rtol=0, atol=0)
    assert softmax_scores(tiny).on_a.dtype == torch.float32


def test_float64_stays_float64() -> None:
    x = torch.rand(1, 3, 2, 2, dtype=torch.float64)
    assert l2_normalise(x).dtype == correlate(x, x).dtype == torch.float64


def test_correlation_of_half_features_is_that_of_the_same_numbers_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    # Lengths from 1 to 1000: the context branch does not normalise its features.
    a, b = (
        (torch.rand(2, 64, 3, 4, generator=generator) * 10 ** torch.linspace(0, 2, 12).view(3, 4)).half()
        for _ in "ab"
    )
    expected = correlate(a.float(), b.float())
    found = correlate(a, b)
    assert (found - expected).abs().max() <= 2e-3 * expected.abs().max()


@pytest.mark.parametrize("name", BACKBONES)
def test_folding_batch_norms_changes_only_rounding(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name)
    load_backbone_weights(backbone, name, "random")
    image = torch.rand(1, 3, 64, 48)
    before = backbone(image)
    backbone.fold_batch_norms()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
    torch.testing.assert_close(backbone(image), before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))


def test_untrained_backbones_stay_within_the_magnitudes_of_trained_ones() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("resnet101")
    image = torch.rand(1, 3, 64, 64)
    wild = float(backbone(image).abs().max())
    load_backbone_weights(backbone, "resnet101", "random")
    assert float(backbone(image).abs().max()) < wild / 10
    assert not any(m.training for m in backbone.modules())


def test_half_network_is_a_copy(small_model: DCCNet) -> None:
    half = small_model.in_half()
    assert small_model.feature_dtype == torch.float32 and half.feature_dtype == torch.float16
    assert {p.dtype for p in small_model.parameters()} == {torch.float32}
    assert {p.dtype for p in half.parameters()} == {torch.float16}


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_half_network_matches_as_the_whole_one(
    lowering: str, small_model: DCCNet, photos: list[Image]
) -> None:
    half = small_model.in_half()
    half.lower(LOWERINGS[lowering])
    true = TorchMatcher(small_model).match(*photos[:2], heatmaps=True)
    found = TorchMatcher(half).match(*photos[:2])
    assert true.heatmap_a is not None
    counts = lead(true.heatmap_a) >= 0.01
    assert counts.mean() > 0.3  # else nothing is tested
    assert (found.index_a == true.index_a)[counts].mean() >= 0.98


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["spectral", "spectral3"]), st.integers(2, 20), st.integers(0, 1000))
def test_spectra_neither_overflow_nor_lose_digits(lowering: str, side: int, seed: int) -> None:
    """Even if everything is in one frequency, or all frequencies are equally strong."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(2, 2, 3, 3, 3, 3, generator=generator) / 81
    bias = torch.rand(2, generator=generator)
    even = torch.full((1, 2, side, side, 3, 3), 100.0)
    peak = torch.zeros(1, 2, side, side, 3, 3)
    peak[:, :, side // 2, side // 2, 1, 1] = 100.0
    for x in (even, peak):
        exact = conv4d(x, weight, bias)
        found = conv4d(x.half(), weight.half(), bias.half(), LOWERINGS[lowering]).float()
        assert torch.isfinite(found).all()
        assert (found - exact).abs().max() <= 5e-3 * exact.abs().max()


def test_context_encoder_in_half_keeps_to_the_whole_one() -> None:
    torch.manual_seed(0)
    encoder = SpatialContextEncoder(64, 5, 32)
    z = l2_normalise(torch.rand(1, 64, 6, 5))
    exact = encoder(z)
    found = encoder.half()(z.half()).float()
    assert (found - exact).abs().max() <= 5e-3 * exact.abs().max()


# The export -------------------------------------------------------------------------------------


def test_half_bundle_is_what_its_manifest_says(half_bundle: Bundle) -> None:
    manifest = half_bundle.manifest
    assert manifest.precision == "float16"
    for name, graph in manifest.graphs.items():
        model = onnx.shape_inference.infer_shapes(onnx.load(half_bundle.graph_path(name)))
        assert graph.precision == "float16" and graph.layers == layer_precisions(model)
        assert set(graph.layers["convolution"]) == set(graph.layers["matrix product"]) == {"float16"}
    layers = manifest.graphs["matcher"].layers
    assert set(layers["softmax"]) == set(layers["reduction"]) == {"float32"}
    encoder = {spec.name: spec.dtype for spec in manifest.graphs["encoder"].outputs}
    assert encoder == {"local": "float16", "context": "float16"}
    assert Bundle.open(half_bundle.path).manifest == manifest


def test_half_bundle_is_verified_by_agreement_and_by_range(half_bundle: Bundle) -> None:
    found = half_bundle.manifest.verification
    assert found is not None and found.passed and found.ranges is not None
    assert found.margin == 0.01 and found.counted_cells > 0.3 and found.identical_cells >= 0.99
    assert found.ranges.headroom == found.ranges.tightest[0].headroom >= REQUIRED_HEADROOM
    assert found.ranges.tensors > 50
    assert [r.headroom for r in found.ranges.tightest] == sorted(r.headroom for r in found.ranges.tightest)
    assert "below overflow" in summary(found) and failure(found) is None


def test_half_bundle_runs_on_the_cpu_and_is_half_as_large(
    half_bundle: Bundle, bundles: Bundles, photos: list[Image]
) -> None:
    whole = bundles("float32", "spectral")
    half_size, whole_size = (b.graph_path("encoder").stat().st_size for b in (half_bundle, whole))
    assert half_size <= 0.55 * whole_size
    a, b = Matcher.open(half_bundle), Matcher.open(whole)
    features = a.encode(photos[0])
    assert {x.dtype for x in features.tensors.values()} == {np.dtype(np.float16)}
    found, true = a.match(*photos[:2]), b.match(*photos[:2])
    assert (found.index_a == true.index_a).mean() > 0.9
    assert found.score_a.dtype == np.float32


def test_every_number_that_float16_would_hold_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["h", "w"], ["m"]),
        helper.make_node("Reshape", ["m", "shape"], ["r"]),  # moves numbers: not listed
        helper.make_node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "f"], ["y"]),  # float32: not watched, however large
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [
            helper.make_tensor(
                "w", TensorProto.FLOAT16, [2], np.array([-3, 2], np.float16).tobytes(), raw=True
            ),
            helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 2]),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path)
    )
    widened = WidenedGraph(onnx.load(str(path)))
    widened.run({"x": np.array([[10.0, 5.0]], np.float32)})
    outputs = widened.run({"x": np.array([[30000.0, -1.0]], np.float32)})
    assert outputs["y"][0, 0] == 90000.0**2  # no float16 on the way
    assert {(t.name, t.operator): value for t, value in widened.largest.items()} == {
        ("h", "Cast"): 30000.0,
        ("m", "Mul"): 90000.0,
        ("w", "weight"): 3.0,
    }
    found = report({"g": widened})
    assert found.tightest[0].tensor == "m" and found.headroom == pytest.approx(LARGEST_FLOAT16 / 90000)
    assert not found.sufficient
    assert [p.name for p in tmp_path.iterdir()] == ["graph.onnx"]


def test_nan_counts_as_overflow(tmp_path: Path, small_model: DCCNet) -> None:
    from dccnet.export.graphs import EncoderGraph

    half = small_model.in_half()
    next(half.backbone.trunk.parameters()).data[0] = float("nan")
    write_onnx(EncoderGraph(half), tmp_path / "e.onnx")
    widened = WidenedGraph(onnx.load(str(tmp_path / "e.onnx")))
    widened.run({"frame": np.zeros((1, *SMALL.image_size, 3), np.float32)})
    assert not report({"encoder": widened}).sufficient


def test_network_that_does_not_fit_into_float16_is_refused_with_the_tensor_named(
    tmp_path: Path, dcc_here: Cli
) -> None:
    model = decisive(build(PLAIN))
    with torch.no_grad():
        next(m for m in model.backbone.trunk.modules() if isinstance(m, nn.BatchNorm2d)).weight *= 1e5
    save_checkpoint(model, tmp_path / "hot.safetensors")
    model_file, written = tmp_path / "hot.safetensors", tmp_path / "b"
    result = dcc_here("export", model_file, "--fp16", "--conv4d", "stack", "-o", written)
    assert result.returncode == 3, result.stderr
    assert "does not fit into float16" in result.stderr and "without --fp16" in result.stderr
    assert "Traceback" not in result.stderr
    manifest = Bundle.open(tmp_path / "b").manifest
    assert not manifest.verified and manifest.verification is not None
    worst = manifest.verification.ranges
    assert worst is not None and worst.tightest[0].largest > LARGEST_FLOAT16
    assert worst.tightest[0].tensor in result.stderr


def test_too_little_headroom_is_refused_though_nothing_overflows(half_bundle: Bundle) -> None:
    verification = half_bundle.manifest.verification
    assert verification is not None and verification.ranges is not None
    tight = dataclasses.replace(verification.ranges, headroom=2.0)
    assert not tight.sufficient
    failed = dataclasses.replace(verification, passed=False, ranges=tight)
    assert "headroom of 4 times" in str(failure(failed))


def test_float16_that_is_mostly_float32_is_an_error(
    tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that does not convert to float16 is noticed."""
    from dccnet.runtime.errors import NotVerifiedError

    monkeypatch.setattr(DCCNet, "in_half", lambda self: self)
    with pytest.raises(NotVerifiedError, match="was to be float16 and is float32"):
        export_bundle(build(PLAIN), tmp_path / "b", pictures[:2], half=True)
    assert not (tmp_path / "b").exists()


def test_precision_is_read_layer_by_layer() -> None:
    assert overall_precision({"convolution": {"float16": 3}, "softmax": {"float32": 1}}) == "float16"
    mixed = {"convolution": {"float16": 3}, "matrix product": {"float32": 1}}
    assert overall_precision(mixed) == "float16+float32"


def test_agreement_counts_only_decided_cells() -> None:
    heatmap = np.full((1, 2, 1, 3), 0.1, np.float32)
    heatmap[0, 0, 0] = [0.5, 0.4, 0.1]
    np.testing.assert_allclose(lead(heatmap), [[0.2, 0.0]], atol=1e-6)
    assert CRITERIA["float32"].margin == 0.0
    assert criterion_for("float16", "product") == criterion_for("float16", "support")
    assert criterion_for("float16", "product").score_difference == 0.1
    assert criterion_for("float32", "product") == CRITERIA["float32"]


def test_fp16_from_the_command_line(checkpoint: Path, tmp_path: Path, dcc_here: Cli) -> None:
    """An untrained network decides nothing, and the command says so instead of claiming agreement."""
    result = dcc_here("export", checkpoint, "--half", "--conv4d", "stack", "-o", tmp_path / "b")
    assert result.returncode in (0, 3) and "Traceback" not in result.stderr
    manifest = Bundle.open(tmp_path / "b").manifest
    assert manifest.precision == "float16"
    assert manifest.verification is not None and manifest.verification.ranges is not None
    assert manifest.verification.ranges.sufficient
    assert manifest.verified == (result.returncode == 0)
