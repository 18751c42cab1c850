"""Float32 islands by measurement: graphs changed step by step, the cost, and plans."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dccnet.calibration.groups import backbone_group
from dccnet.calibration.half.build import groups_without_headroom
from dccnet.calibration.half.candidates import HalfPrecisionCandidates, group_of
from dccnet.calibration.half.graph import to_half_precision
from dccnet.export.bundles.readback import tensor_types
from dccnet.export.bundles.rounding import open_with_rounding, with_rounding
from dccnet.export.bundles.steps import OUTSIDE, read_steps
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.errors import BundleError
from dccnet.runtime.files import sha256
from dccnet.runtime.geometry import resize_uint8
from dccnet.runtime.matcher import Matcher
from tests.helpers.bundles import Bundles
from tests.helpers.commands import Cli
from tests.helpers.crops import write_crops

MATRIX = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
BIAS = np.random.default_rng(2).normal(size=4).astype(np.float32)


@pytest.fixture(scope="module")
def crops(photos: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    write_crops(folder, photos, 8)
    return folder


@pytest.fixture(scope="module")
def candidates(bundle: Bundle) -> HalfPrecisionCandidates:
    return HalfPrecisionCandidates.open(bundle)


@pytest.fixture(scope="module")
def frames(photos: list[Image], bundle: Bundle) -> list[Image]:
    return [resize_uint8(photo, bundle.manifest.image_size) for photo in photos]


# Graphs -----------------------------------------------------------------------------------------


def chain(operators: list[str]) -> onnx.ModelProto:
    """A graph that applies the operators to x ``(batch, 4)`` one after another."""
    nodes, name = [], "x"
    for number, operator in enumerate(operators):
        result = "y" if number == len(operators) - 1 else f"t{number}"
        weights = {"MatMul": ["matrix"], "Add": ["bias"], "Mul": ["bias"]}.get(operator, [])
        nodes.append(helper.make_node(operator, [name, *weights], [result], name=f"n{number}"))
        name = result
    specs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in "xy"]
    weights = [numpy_helper.from_array(MATRIX, "matrix"), numpy_helper.from_array(BIAS, "bias")]
    graph = helper.make_graph(nodes, "chain", specs[:1], specs[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def by_hand(operators: list[str], half: set[int], x: np.ndarray) -> np.ndarray:
    """The same in NumPy: each operator in float32, on values rounded as they are stored."""
    for number, operator in enumerate(operators):
        stored = np.float16 if number in half else np.float32
        x = x.astype(stored).astype(np.float32)
        matrix, bias = (w.astype(stored).astype(np.float32) for w in (MATRIX, BIAS))
        if operator == "MatMul":
            x = x @ matrix
        elif operator in ("Add", "Mul"):
            x = x + bias if operator == "Add" else x * bias
        else:
            x = np.maximum(x, 0)
        x = x.astype(stored).astype(np.float32)
    return x


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_nodes_may_be_half_and_are_rounded_where_they_store(data: st.DataObject) -> None:
    operators = data.draw(
        st.lists(st.sampled_from(["MatMul", "Add", "Mul", "Relu"]), min_size=1, max_size=6)
    )
    half = data.draw(st.sets(st.integers(0, len(operators) - 1)))
    ends = data.draw(st.sets(st.sampled_from("xy")))
    model = to_half_precision(chain(operators), {f"n{number}" for number in half}, ends)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = tensor_types(inferred)
    for node in inferred.graph.node:
        if node.op_type != "Cast":
            wanted = TensorProto.FLOAT16 if int(node.name[1:]) in half else TensorProto.FLOAT
            assert {types[name] for name in (*node.input, *node.output)} == {wanted}
    for end in "xy":
        assert types[end] == (TensorProto.FLOAT16 if end in ends else TensorProto.FLOAT)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    given_x = x.astype(np.float16).astype(np.float32) if "x" in ends else x
    session = onnxruntime.InferenceSession(with_rounding(model).SerializeToString())
    (found,) = session.run(None, {"x": given_x})
    true = by_hand(operators, half, given_x)
    if "y" in ends:
        true = true.astype(np.float16).astype(np.float32)
    # One rounding of float16 may fall the other way where float32 sums differ in their last bit.
    np.testing.assert_allclose(found, true, rtol=2e-3 if half or "y" in ends else 1e-5, atol=1e-3)


def test_rounding_is_that_of_float16(tmp_path: Path) -> None:
    """Element-wise operators add nothing up, so every bit must be equal to that of NumPy."""
    model = to_half_precision(chain(["Mul", "Add", "Relu", "Mul"]), {"n0", "n1", "n2", "n3"})
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    x[0] = [1e-7, 3e-6, 70000.0, -70000.0]  # what float16 hardly holds, and what it does not
    session = onnxruntime.InferenceSession(with_rounding(model).SerializeToString())
    (found,) = session.run(None, {"x": x})
    with np.errstate(over="ignore", invalid="ignore"):
        true = by_hand(["Mul", "Add", "Relu", "Mul"], {0, 1, 2, 3}, x)
    np.testing.assert_array_equal(found, true)


def test_every_node_of_a_bundle_belongs_to_a_step(candidates: HalfPrecisionCandidates) -> None:
    groups = candidates.groups("block")
    names = [group.name for group in groups]
    assert names[0].startswith("backbone.") and len(set(names)) == len(names)
    assert {n for n in names if not n.startswith("backbone.")} == {
        "l2_norm", "context.similarity", "context.l2_norm", "context.embed", "correlation",
        "mutual_matching", "consensus", "embedding", "attention", "softmax",
    }  # fmt: skip
    macs = {group.name: group.macs for group in groups}
    cells = 6 * 5
    assert macs["correlation"] == cells * cells * (256 + 24)  # both branches
    assert macs["context.embed"] == cells * 24 * (256 + 25)
    outside = [node for graph in candidates.steps.values() for node in graph.values() if node == OUTSIDE]
    assert 4 <= len(outside) < 30
    saved = {group.name: group.bytes_saved for group in groups}
    assert saved["context.embed"] == 2 * (24 * (256 + 25) + 24)


def test_groups_of_the_backbone() -> None:
    assert backbone_group("layer3.2.conv1", "stage") == "backbone.layer3"
    assert backbone_group("layer3.2.conv1", "block") == "backbone.layer3.2"
    assert backbone_group("layer3.2.conv1", "layer") == "backbone.layer3.2.conv1"
    assert backbone_group("block3.expand.conv", "block") == "backbone.block3"
    assert group_of("backbone.trunk.layer1.0.relu", "block") == "backbone.layer1.0"
    assert group_of(OUTSIDE, "block") is None


def test_a_graph_without_steps_is_sent_back(bundle: Bundle) -> None:
    model = onnx.load(str(bundle.graph_path("encoder")))
    for node in model.graph.node:
        del node.metadata_props[:]
    with pytest.raises(BundleError, match="export it again"):
        read_steps(model, "encoder.onnx")


def test_nothing_chosen_changes_nothing(candidates: HalfPrecisionCandidates, photos: list[Image]) -> None:
    true = Matcher.open(candidates.bundle).match(*photos[:2])
    found = candidates.matcher(()).match(*photos[:2])
    np.testing.assert_array_equal(found.index_a, true.index_a)
    np.testing.assert_allclose(found.score_a, true.score_a, atol=1e-6)


def test_each_step_alone_changes_little(bundles: Bundles, photos: list[Image]) -> None:
    candidates = HalfPrecisionCandidates.open(bundles("float32", "spectral"))
    true = Matcher.open(candidates.bundle).match(*photos[:2])
    for group in candidates.groups("stage"):
        found = candidates.matcher(group.layers).match(*photos[:2])
        assert np.abs(found.score_a - true.score_a).max() < 0.05, group.name
        assert (found.index_a == true.index_a).mean() > 0.8, group.name


def test_what_could_overflow_stays_float32(
    bundle: Bundle,
    candidates: HalfPrecisionCandidates,
    frames: list[Image],
    crops: Path,
    tmp_path: Path,
    dcc_here: Cli,
) -> None:
    assert set(groups_without_headroom(candidates, "block", frames)) <= {"l2_norm"}  # sums of many squares
    hot = tmp_path / "hot"
    shutil.copytree(bundle.path, hot)
    model = onnx.load(str(hot / "encoder.onnx"))
    weight = next(w for w in model.graph.initializer if w.name.endswith("context_encoder.embed.weight"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 3e4, weight.name))
    onnx.save(model, str(hot / "encoder.onnx"))
    graph = dataclasses.replace(bundle.manifest.graphs["encoder"], sha256=sha256(hot / "encoder.onnx"))
    graphs = bundle.manifest.graphs | {"encoder": graph}
    write_manifest(hot, dataclasses.replace(bundle.manifest, graphs=graphs))
    barred = groups_without_headroom(HalfPrecisionCandidates.open(Bundle.open(hot)), "block", frames)
    assert "correlation" in barred  # its products are squares of what the encoder gives
    assert not any(name.startswith("backbone") for name in barred)
    result = dcc_here(
        "calibrate", hot, "--precision", "fp16", "--data", crops, "--level", "stage", "--budget", "50",
        "--frames", "3", "--pairs", "2", "-o", tmp_path / "o",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "overflows" in result.stdout
    islands = Bundle.open(tmp_path / "o").manifest.islands
    assert islands is not None and "correlation" in islands.whole
    Matcher.open(tmp_path / "o").match(*frames[:2])  # finite


# The command ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(bundle: Bundle, crops: Path, tmp_path_factory: pytest.TempPathFactory, dcc_here: Cli) -> Path:
    """A folder with the results of ``dcc calibrate --precision fp16``."""
    folder = tmp_path_factory.mktemp("searched")
    result = dcc_here(
        "calibrate", bundle.path, "--precision", "fp16", "--data", crops, "--frames", "4", "--pairs", "3",
        "--budget", "1.5", "--level", "stage", "--report", folder / "report", "-o", folder / "half",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "float16 in each group alone" in result.stdout and "mutual_matching" in result.stdout
    return folder


def test_a_searched_half_bundle_is_a_bundle(
    searched: Path, bundle: Bundle, photos: list[Image], dcc_here: Cli
) -> None:
    manifest = Bundle.open(searched / "half").manifest
    islands = manifest.islands
    assert manifest.precision == "float16" and islands is not None
    assert islands.ranges.sufficient and islands.frames == 4
    assert 100 * islands.agreement.changed_cells <= 1.5
    assert islands.made_from == {name: graph.sha256 for name, graph in bundle.manifest.graphs.items()}
    assert not set(islands.half) & set(islands.whole)
    plan = json.loads((searched / "report" / "plan.json").read_text())
    assert plan["precision"] == "float16" and plan["schema"] == 2
    assert len(plan["groups"]) + len(plan["islands"]) == len(plan["sensitivity"]) + len(
        plan["without_headroom"]
    )
    assert (searched / "report" / "sensitivity.png").stat().st_size > 10_000
    info = dcc_here("info", searched / "half")
    assert "float32 islands" in info.stdout and "against float32" in info.stdout
    found, true = (m.match(*photos[:2]) for m in map(Matcher.open, (searched / "half", bundle)))
    assert (found.index_a == true.index_a).mean() > 0.9


def digests(path: Path) -> dict[str, str]:
    return {name: graph.sha256 for name, graph in Bundle.open(path).manifest.graphs.items()}


def test_a_plan_serves_with_frames_and_without(
    searched: Path, bundle: Bundle, crops: Path, tmp_path: Path, dcc_here: Cli
) -> None:
    plan = searched / "report" / "plan.json"
    result = dcc_here(
        "calibrate", bundle.path, "--precision", "fp16", "--data", crops, "--plan", plan,
        "-o", tmp_path / "frames",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert digests(tmp_path / "frames") == digests(searched / "half")
    # The plan says that it is float16, and dcc has pictures of its own.
    result = dcc_here("calibrate", bundle.path, "--plan", plan, "-o", tmp_path / "own")
    assert result.returncode == 0, result.stderr
    assert "pictures that come with dcc" in result.stderr
    assert digests(tmp_path / "own") == digests(searched / "half")
    manifest = Bundle.open(tmp_path / "own").manifest
    assert manifest.precision == "float16" and manifest.verification == bundle.manifest.verification
    assert manifest.islands is not None and manifest.islands.ranges.sufficient
    assert manifest.islands.frames == manifest.islands.agreement.pairs == 3
    result = dcc_here(
        "calibrate", bundle.path, "--plan", plan, "--check", crops, "--json", "-o", tmp_path / "c"
    )
    assert result.returncode == 0 and "come with dcc" not in result.stderr, result.stderr
    assert json.loads(result.stdout)["islands"]["frames"] == 8


def test_engines_have_the_planned_types(searched: Path) -> None:
    """Compiled by the real library; islands are where the plan has them."""
    pytest.importorskip("tensorrt_rtx")
    from dccnet.runtime.tensorrt.builder import BatchRange, BuildSettings
    from dccnet.runtime.tensorrt.bundled import build_engines
    from dccnet.runtime.tensorrt.library import RTX, load_library

    settings = BuildSettings(batch=BatchRange(1, 1, 2), targets=("sm86",))
    encoder, matcher = build_engines(Bundle.open(searched / "half"), load_library(RTX), settings)
    graphs = Bundle.open(searched / "half").manifest.graphs
    for engine in (encoder, matcher):
        assert set(engine.record.precision.split("+")) <= set(
            graphs[engine.record.graph].precision.split("+")
        )


def test_an_int8_plan_carries_its_ranges(
    bundle: Bundle, bundles: Bundles, crops: Path, tmp_path: Path, dcc_here: Cli
) -> None:
    result = dcc_here(
        "calibrate", bundle.path, "--data", crops, "--frames", "3", "--pairs", "3", "--budget", "12",
        "--level", "stage", "--report", tmp_path, "-o", tmp_path / "c",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    plan = tmp_path / "plan.json"
    result = dcc_here("calibrate", bundle.path, "--plan", plan, "-o", tmp_path / "e")
    assert result.returncode == 0, result.stderr
    assert "pictures that come with dcc" in result.stderr
    made, again = (Bundle.open(tmp_path / name).manifest for name in "ce")
    assert again.graphs["encoder"].sha256 == made.graphs["encoder"].sha256
    assert again.calibration is not None and made.calibration is not None
    assert again.calibration.layers == made.calibration.layers
    assert again.calibration.frames == made.calibration.frames
    assert again.calibration.agreement.pairs == 3  # neighbours of three pictures
    assert again.precision == "float32+int8" and again.verified
    assert again.verification == bundle.manifest.verification
    result = dcc_here("calibrate", bundle.path, "--plan", plan, "--target", "cpu", "-o", tmp_path / "cpu")
    assert result.returncode == 0, result.stderr  # the plan has the ranges of either target
    calibration = Bundle.open(tmp_path / "cpu").manifest.calibration
    assert calibration is not None and (calibration.target, calibration.method) == ("cpu", "mse")
    half = bundles("float16", "spectral").path
    result = dcc_here("calibrate", half, "--fp16", "--plan", plan, "-o", tmp_path / "f")
    assert result.returncode == 1 and not (tmp_path / "f").exists()
    line = result.stderr.strip().splitlines()[-1]
    assert "belongs to another network" in line and "--data" in line
    values = json.loads(plan.read_text())
    kinds = next(iter(values["table"]["ranges"]["encoder"].values()))
    kinds["signed"]["mse"] = [1, 2]
    plan.write_text(json.dumps(values))
    result = dcc_here("calibrate", bundle.path, "--plan", plan, "-o", tmp_path / "g")
    assert result.returncode == 1 and "table.ranges.encoder." in result.stderr.splitlines()[-1]
    assert ".signed.mse" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "g").exists()


def test_plans_are_no_option_of_export(checkpoint: Path, tmp_path: Path, dcc_here: Cli) -> None:
    said = "--plan is an option of dcc calibrate now: dcc calibrate BUNDLE --plan FILE -o OUT"
    for arguments in ((checkpoint, "--plan", "plan.json", "-o", tmp_path / "o"), ("--plan", "plan.json")):
        result = dcc_here("export", *arguments)
        assert result.returncode == 2 and said in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "o").exists()
    assert "--plan" not in dcc_here("export", "--help").stdout


def test_what_is_refused(
    searched: Path,
    bundle: Bundle,
    bundles: Bundles,
    crops: Path,
    tmp_path: Path,
    dcc_here: Cli,
) -> None:
    plan = searched / "report" / "plan.json"
    output = tmp_path / "o"

    def line(*arguments: str | Path, code: int) -> str:
        result = dcc_here("calibrate", *arguments, "-o", output)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr and not output.exists()
        return result.stderr.strip().splitlines()[-1]

    half = (bundle.path, "--precision", "fp16")
    assert "--data" in line(*half, code=2)
    for option in (("--method", "mse"), ("--target", "cpu"), ("--include", "context"), ("--fp16",)):
        said = f"{option[0]} is an option of --precision int8"
        assert said in line(*half, "--data", crops, *option, code=2)
        assert said in line(bundle.path, "--plan", plan, *option, code=2)  # a plan for float16
    said = "is a plan for float16: remove --precision int8"
    assert said in line(bundle.path, "--precision", "int8", "--plan", plan, code=2)
    done = bundles("float16", "spectral").path
    assert "float16 already" in line(done, "--precision", "fp16", "--data", crops, code=1)
    (tmp_path / "plan.json").write_text('{"schema": 2, "precision": "float16", "layers": ["nowhere"]}')
    assert "another network" in line(*half, "--data", crops, "--plan", tmp_path / "plan.json", code=1)
    (tmp_path / "plan.json").write_text('{"schema": 2, "precision": "int8", "layers": ["backbone.conv1"]}')
    assert "is a plan for int8" in line(*half, "--plan", tmp_path / "plan.json", code=2)
    assert "has no ranges" in line(bundle.path, "--plan", tmp_path / "plan.json", code=1)
    for text, said in (
        ('{"schema": 9}', "its schema is 9"),
        ('{"schema": 2, "precision": "int8", "layers": "all"}', "layers must be a list"),
        ('{"schema": 2, "precision": "int8", "layers": []}', "it names no layers"),
        ('{"schema": 2, "precision": "int4", "layers": ["a"]}', "precision must be one of int8, float16"),
        ('{"schema": 2, "layers": ["a"]}', "precision is missing"),
        ("[]", "must be an object"),
        ("{", "is no plan"),
    ):
        (tmp_path / "plan.json").write_text(text)
        problem = line(bundle.path, "--plan", tmp_path / "plan.json", code=1)
        assert "is no plan" in problem and said in problem


def test_rounding_differs_from_what_a_cpu_makes_of_the_graph(bundles: Bundles, photos: list[Image]) -> None:
    """The reason for ``export/bundles/rounding.py``. Fails once ONNX Runtime rounds."""
    half = bundles("float16", "spectral")
    plain, stored = Matcher.open(half).match(*photos[:2]), open_with_rounding(half).match(*photos[:2])
    true = bundles("float32", "spectral")
    whole = Matcher.open(true).match(*photos[:2])
    plain_error = np.abs(plain.score_a - whole.score_a).mean()
    stored_error = np.abs(stored.score_a - whole.score_a).mean()
    assert stored_error > plain_error
