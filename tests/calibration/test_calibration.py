"""The parts of calibration: frames, ranges, rounding of weights, and the quantised graph."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dccnet.calibration.frames import sample_frames
from dccnet.calibration.int8.candidates import open_layers
from dccnet.calibration.int8.histogram import BINS, Histogram
from dccnet.calibration.int8.layers import Layer, find_layers
from dccnet.calibration.int8.methods import METHODS, SIGNED, UNSIGNED, Levels, Range
from dccnet.calibration.int8.observe import observe
from dccnet.calibration.int8.quantise import quantise
from dccnet.calibration.int8.table import CalibrationTable, make_table, read_table, write_table
from dccnet.calibration.int8.weights import LARGEST, channel_scales, round_kernels
from dccnet.calibration.settings import Target
from dccnet.export.bundles.readback import layer_precisions, overall_precision
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import BundleError, DataError, UsageError
from dccnet.runtime.images import write_image
from tests.helpers.bundles import Bundles
from tests.helpers.crops import write_crops

# Frames -----------------------------------------------------------------------------------------


def test_frames_are_spread_over_a_video_and_the_others_are_other_ones(video: Path) -> None:
    sample = sample_frames(video, 3, (96, 80))
    numbers = [int(frame.name.rpartition(":")[2]) for frame in sample.chosen]
    assert numbers == sorted(numbers) and numbers[0] == 0 and numbers[-1] >= 9
    assert all(frame.pixels.shape == (96, 80, 3) for frame in sample.chosen)
    assert sample.chosen[0].sha256 == hashlib.sha256(sample.chosen[0].pixels.tobytes()).hexdigest()
    hashes = [frame.sha256 for frame in (*sample.chosen, *sample.others)]
    assert len(set(hashes)) == len(hashes) > 3


def test_duplicates_are_replaced_and_what_cannot_be_read_is_reported(
    photos: list[Image], tmp_path: Path
) -> None:
    for number in range(4):
        write_image(tmp_path / f"a{number}.png", photos[0])
    write_image(tmp_path / "b.png", photos[1])
    (tmp_path / "c.png").write_bytes(b"\x89PNG no more")
    sample = sample_frames(tmp_path, 4, (96, 80))
    assert all((tmp_path / f.name).is_file() and Path(f.name).name == f.name for f in sample.chosen)
    assert [Path(frame.name).name for frame in sample.chosen] == ["a0.png", "b.png"]
    assert sample.duplicates == 3
    (problem,) = sample.unreadable
    assert "c.png" in problem


def test_lists_name_pictures_beside_them(photos: list[Image], tmp_path: Path) -> None:
    for name, photo in zip("ab", photos, strict=False):
        write_image(tmp_path / f"{name}.png", photo)
    (tmp_path / "list.txt").write_text("b.png\n\na.png\nb.png\n")
    (tmp_path / "pairs.csv").write_text("source_image,target_image,class,flip\na.png,b.png,1,0\n")
    assert [f.name for f in sample_frames(tmp_path / "list.txt", 9, (96, 80)).chosen] == ["b.png", "a.png"]
    (tmp_path / "windows.txt").write_text(f".\\b.png\r\n..\\{tmp_path.name}\\a.png\r\n")
    assert len(sample_frames(tmp_path / "windows.txt", 9, (96, 80)).chosen) == 2
    assert len(sample_frames(tmp_path / "pairs.csv", 9, (96, 80)).chosen) == 2


# Ranges -----------------------------------------------------------------------------------------


def histogram_of(*values: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    for part in values:
        histogram.add(part)
    return histogram


@given(st.lists(arrays(np.float32, 20, elements=st.floats(-1e4, 1e4, width=32)), min_size=1, max_size=5))
@example(parts=[np.full(20, 1e-41, np.float32), np.zeros(20, np.float32)])
@settings(deadline=None)
def test_a_histogram_counts_everything_in_whatever_order(parts: list[NDArray[np.float32]]) -> None:
    forward, backward = histogram_of(*parts), histogram_of(*parts[::-1])
    assert forward.counts.sum() == backward.counts.sum() == 20 * len(parts)
    assert forward.lowest == np.min(parts) and forward.highest == np.max(parts)
    if forward.reach:
        width = 2 * forward.reach / BINS
        middle = (forward.counts * forward.centres).sum() / forward.counts.sum()
        assert abs(middle - np.mean(np.stack(parts).astype(np.float64))) <= width
        # Each value is at most one bin from where the other order puts it.
        assert np.abs(np.cumsum(forward.counts - backward.counts)).max() <= 20 * len(parts)
        assert forward.reach == backward.reach


def stored(values: NDArray[np.float32], span: Range, levels: Levels) -> NDArray[np.float64]:
    step = levels.steps(span)
    zero = 0 if levels.symmetric else round(-span.low / step)
    least, most = (-127, 127) if levels.symmetric else (-zero, 255 - zero)
    return np.clip(np.round(values / step), least, most) * step


@pytest.mark.parametrize("levels", [SIGNED, UNSIGNED])
def test_methods_cut_off_what_is_rare(levels: Levels) -> None:
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    values[0] = 30.0
    histogram = histogram_of(values)
    spans = {name: method(histogram, levels) for name, method in METHODS.items()}
    assert spans["minmax"] == Range(float(values.min()), 30.0)
    errors = {
        name: float(((stored(values, span, levels) - values)[1:] ** 2).mean())
        for name, span in spans.items()
    }
    for name in ("percentile", "mse", "entropy"):
        assert spans[name].high < 29 and errors[name] < errors["minmax"]
    assert 3.5 < spans["percentile"].high < 4.2  # 0.01 % of a normal distribution lie beyond 3.7


@pytest.mark.parametrize("name", METHODS)
def test_ranges_hold_zero_and_no_more_than_occurred(name: str) -> None:
    for values in ([2.0, 3.0, 6.0], [-5.0, -1.0], [0.0, 0.0]):
        histogram = histogram_of(np.array(values, np.float32))
        for levels in (SIGNED, UNSIGNED):
            span = METHODS[name](histogram, levels)
            assert min(*values, 0) <= span.low <= 0 <= span.high <= max(*values, 0)


# Weights ----------------------------------------------------------------------------------------


@given(arrays(np.float64, (3, 2, 3, 3), elements=st.floats(-127, 127)))
@settings(deadline=None)
def test_rounded_kernels_keep_their_sums(steps: NDArray[np.float64]) -> None:
    rounded = round_kernels(steps).astype(np.float64)
    assert np.abs(rounded).max() <= LARGEST
    assert np.abs(rounded - steps).max() <= 1 + 1e-9
    sums = np.abs((rounded - steps).sum(axis=(2, 3)))
    free = (np.abs(rounded) < LARGEST).sum(
        axis=(2, 3)
    ) >= 5  # half of the taps are the most that must give way
    assert (sums[free] <= 0.5 + 1e-6).all()


def test_kernels_of_one_tap_are_rounded_to_the_nearest() -> None:
    steps = np.array([0.4, 0.6, -1.2, 126.9]).reshape(2, 2, 1, 1)
    assert round_kernels(steps).ravel().tolist() == [0, 1, -1, 127]


def test_biases_of_dead_channels_fit_into_32_bits() -> None:
    weight = np.full((2, 1, 1, 1), 1e-9, np.float32)
    weight[1] = 1.0
    bias = np.array([-1.2, 0.5], np.float32)
    scales = channel_scales(weight, bias, input_step=6 / 127)
    assert (np.abs(bias) / (scales * 6 / 127) < 2**31 - 1).all()
    assert scales[1] == np.float32(1 / 127)


# The graph --------------------------------------------------------------------------------------


def tiny_graph() -> onnx.ModelProto:
    """``y = relu(w x + b)`` of one pixel, ``x`` and ``y`` with two channels."""
    weight = np.array([[1.0, -0.5], [0.25, 2.0]], np.float32).reshape(2, 2, 1, 1)
    name = "model.backbone.trunk.conv1.weight"
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", name, "b"], ["c"], name="conv"),
            helper.make_node("Relu", ["c"], ["y"], name="relu"),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, 1, 1])],
        [
            numpy_helper.from_array(weight, name),
            numpy_helper.from_array(np.array([0.125, -1], np.float32), "b"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(
    model: onnx.ModelProto, output: str, optimise: bool = True, **inputs: NDArray[np.generic]
) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.asarray(session.run([output], inputs)[0])


def test_a_quantised_convolution_by_hand() -> None:
    model = tiny_graph()
    layers = find_layers(model, "encoder", ("backbone",))
    assert [(layer.name, layer.result, layer.raw_result) for layer in layers] == [
        ("backbone.conv1", "y", "c")
    ]
    quantised = quantise(model, layers, lambda tensor: Range(-2.0, 2.54), "tensorrt")
    # The step of x is 2.54 / 127 = 0.02; 1.013 is stored as 1.02, and -9 as -128 steps.
    x = np.array([1.013, -9.0], np.float32).reshape(1, 2, 1, 1)
    # Weights in steps of 1/127 and 2/127: -0.5 is stored as -64/127 (ties go to even), 0.25 as 16 × 2/127.
    expected = [1.02 + 64 / 127 * 2.56 + 0.125, 0.0]
    np.testing.assert_allclose(run(quantised, "y", x=x).ravel(), expected, rtol=1e-6)
    assert quantise(model, [], lambda tensor: Range(0, 1), "cpu") is model  # nothing, and not everything


def operators(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


@pytest.fixture(scope="module")
def calibrated(
    bundles: Bundles, tmp_path_factory: pytest.TempPathFactory, photos: list[Image]
) -> CalibrationTable:
    folder = tmp_path_factory.mktemp("crops")
    write_crops(folder, photos, 6)
    bundle = bundles("float32", "stack")
    _, layers = open_layers(bundle, ("backbone", "context", "consensus"))
    frames = sample_frames(folder, 6, bundle.manifest.image_size).chosen
    return make_table(bundle, frames, observe(bundle, layers, frames))


def quantised_encoder(
    bundle: Bundle, table: CalibrationTable, target: Target, parts: Sequence[str] = ("backbone",)
) -> tuple[onnx.ModelProto, onnx.ModelProto, list[Layer]]:
    model = onnx.load(str(bundle.graph_path("encoder")))
    layers = find_layers(model, "encoder", parts)
    places = {tensor: layer for layer in layers for tensor in (layer.source, layer.result)}
    symmetric = target == "tensorrt"
    ranges = lambda tensor: table.range(places[tensor], tensor, "mse", symmetric=symmetric)  # noqa: E731
    return model, quantise(model, layers, ranges, target), layers


def test_only_the_backbones_convolutions_read_bytes(bundle: Bundle, calibrated: CalibrationTable) -> None:
    before, model, layers = quantised_encoder(bundle, calibrated, "tensorrt")
    makers = operators(model)
    weights = {weight.name: weight for weight in model.graph.initializer}
    chosen = {layer.node for layer in layers}
    assert len(chosen) == 15  # of ResNet-18 to layer3
    for node in model.graph.node:
        sources = [makers[name].op_type for name in node.input if name in makers]
        if node.name in chosen:
            assert sources == ["DequantizeLinear", "DequantizeLinear"] and node.input[2] in weights
            weight = makers[node.input[1]]
            assert weights[weight.input[0]].data_type == TensorProto.INT8
            assert list(weights[weight.input[1]].dims) == [weights[weight.input[0]].dims[0]]  # per channel
            source = weights[makers[node.input[0]].input[2]]
            assert source.data_type == TensorProto.INT8 and not numpy_helper.to_array(source).any()
        elif node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            assert "DequantizeLinear" not in sources, node.name
    assert not any(weight.data_type == TensorProto.INT32 for weight in model.graph.initializer)
    found = layer_precisions(onnx.shape_inference.infer_shapes(model))
    assert found["convolution"] == {"int8": 15, "float32": 1} and overall_precision(found) == "float32+int8"
    assert found["arithmetic"] == layer_precisions(onnx.shape_inference.infer_shapes(before))["arithmetic"]


@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
def test_features_stay_what_they_were_whatever_onnx_runtime_makes_of_the_graph(
    target: Target, bundle: Bundle, calibrated: CalibrationTable, photos: list[Image]
) -> None:
    """Saturation and bias overflow would appear in fused integer kernels; they once did."""
    before, model, _ = quantised_encoder(bundle, calibrated, target)
    frame = bundle.manifest.frames.of(photos[1])[None]
    true = run(before, "local", frame=frame)
    plain, fused = (run(model, "local", optimise, frame=frame) for optimise in (False, True))
    likeness = (true * plain).sum(axis=1)  # features have length 1
    assert likeness.mean() > 0.98
    assert (fused * plain).sum(axis=1).min() > 0.98


def test_four_dimensional_kernels_are_folded_and_shared(
    bundle: Bundle, calibrated: CalibrationTable
) -> None:
    models, layers = open_layers(bundle, ("backbone", "consensus"))
    layers = tuple(layer for layer in layers if layer.part == "consensus")
    names = {f"{network}.{number}" for network in ("consensus", "embedding") for number in (0, 1)}
    assert {layer.name for layer in layers} == names
    places = {tensor: layer for layer in layers for tensor in (layer.source, layer.result)}
    model = quantise(
        models["matcher"],
        layers,
        lambda tensor: calibrated.range(places[tensor], tensor, "minmax", symmetric=True),
        "tensorrt",
    )
    onnx.checker.check_model(model, full_check=True)
    found = layer_precisions(onnx.shape_inference.infer_shapes(model))
    assert found["convolution"]["int8"] == len(layers) == 16


def test_what_cannot_be_quantised_is_named(bundles: Bundles) -> None:
    with pytest.raises(UsageError, match="--conv4d stack"):
        open_layers(bundles("float32", "spectral"), ("backbone", "consensus"))


def test_a_table_survives_its_file_and_knows_its_network(
    bundle: Bundle, bundles: Bundles, calibrated: CalibrationTable, tmp_path: Path
) -> None:
    write_table(tmp_path / "table.json", calibrated)
    table = read_table(tmp_path / "table.json")
    assert table.frames == calibrated.frames and table.graphs == calibrated.graphs
    table.check(bundle, "table.json")
    for tensor, kinds in calibrated.ranges["encoder"].items():
        for kind, methods in kinds.items():
            for method, span in methods.items():
                assert table.ranges["encoder"][tensor][kind][method] == span
    with pytest.raises(DataError, match=r"table\.json belongs to another network"):
        table.check(bundles("float16", "spectral"), "table.json")
    text = (tmp_path / "table.json").read_text()
    for broken in ("", "[]", text.replace('"schema": 1', '"schema": 2'), text[: len(text) // 2]):
        (tmp_path / "broken.json").write_text(broken)
        with pytest.raises(DataError, match="no calibration table"):
            read_table(tmp_path / "broken.json")


def test_int8_of_int8_is_refused(bundle: Bundle) -> None:
    import dataclasses

    from dccnet.runtime.manifest import Agreement, Calibration

    made = Calibration("mse", "cpu", 1, "t", "s", {}, (), Agreement(1, 0.0, 0.0))
    with pytest.raises(BundleError, match="is INT8 already"):
        open_layers(
            Bundle(bundle.path, dataclasses.replace(bundle.manifest, calibration=made)), ("backbone",)
        )


def test_calibrating_needs_no_torch() -> None:
    code = (
        "from dccnet.calibration import report; from dccnet.calibration.int8 import calibrate; import sys; "
    )
    code += "from dccnet.calibration.half import calibrate; "
    code += "from dccnet.calibration.bench import measure; "
    code += "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
