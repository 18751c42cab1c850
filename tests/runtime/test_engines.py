"""Engines: built by the real TensorRT-RTX, which needs no GPU, and by an emulation of TensorRT, which needs
one; and plans that must not be loaded."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dccnet.runtime.arrays import Array
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.commands.build import build as build_command
from dccnet.runtime.cuda import open_device
from dccnet.runtime.decoding import DecodingError, decode
from dccnet.runtime.errors import DccError, EngineError, NotVerifiedError, UsageError
from dccnet.runtime.extras import install
from dccnet.runtime.files import sha256_of
from dccnet.runtime.manifest import EngineRecord, GpuRecord, Manifest
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.tensorrt import gpu_record as gpu_records
from dccnet.runtime.tensorrt.builder import BatchRange, BuildSettings, BuiltEngine, build_engine
from dccnet.runtime.tensorrt.bundled import add_engines, build_engines
from dccnet.runtime.tensorrt.comparison import synthetic_frames
from dccnet.runtime.tensorrt.layers import (
    compute_precision,
    count_precisions,
    parse_inspector,
    parse_report,
)
from dccnet.runtime.tensorrt.library import RTX, TENSORRT, Library, Messages, load_library
from dccnet.runtime.tensorrt.options import parse_bytes
from dccnet.runtime.tensorrt.plan import (
    check_loadable,
    plan_header,
    read_plan,
    read_sidecar,
    sidecar_path,
    write_engine,
)
from dccnet.weights.checkpoint import save_checkpoint
from tests.helpers.bundles import Bundles
from tests.helpers.commands import Cli
from tests.helpers.emulation import Machine, emulated
from tests.helpers.fake_cuda import Properties
from tests.helpers.fake_tensorrt import FakeTensorRT
from tests.helpers.networks import PLAIN, build

tensorrt_rtx = pytest.importorskip("tensorrt_rtx")  # not available for every platform
ALL_BATCHES = BatchRange(1, 1, 8)
GPU = GpuRecord("Ampere", (8, 6))
TARGETS = ("sm80", "sm86", "sm89", "sm120")


@pytest.fixture(scope="module")
def rtx() -> Library:
    return load_library(RTX)


@pytest.fixture(scope="module")
def half(bundles: Bundles) -> Bundle:
    return bundles("float16", "spectral")


@pytest.fixture(scope="module")
def built(rtx: Library, half: Bundle) -> BuiltEngine:
    """A matcher in half precision for one GPU."""
    return compile_graph(rtx, half, "matcher", BuildSettings(targets=("sm86",)))


def compile_graph(library: Library, bundle: Bundle, name: str, settings: BuildSettings) -> BuiltEngine:
    return build_engine(library, name, bundle.manifest.graphs[name], bundle.graph_path(name), settings)


@pytest.fixture
def plan(built: BuiltEngine, tmp_path: Path) -> Path:
    return write_engine(built, tmp_path)


# Compiled for real ------------------------------------------------------------------------------


# Each type and each lowering once, of bundles that other tests share; the rest with the slow tests.
@pytest.mark.parametrize(
    ("dtype", "lowering"),
    [
        ("float32", "stack"),
        ("float32", "spectral"),
        ("float32", "spectral3"),
        ("float16", "spectral"),
        pytest.param("float16", "stack", marks=pytest.mark.slow),
        pytest.param("float16", "spectral3", marks=pytest.mark.slow),
    ],
)
def test_both_graphs_compile_for_every_gpu_generation_with_a_dynamic_batch(
    dtype: str, lowering: str, bundles: Bundles, rtx: Library
) -> None:
    targets = ("sm75", *TARGETS) if dtype == "float16" else TARGETS  # not Turing in float32
    settings = BuildSettings(batch=ALL_BATCHES, targets=targets)
    for engine in build_engines(bundles(dtype, lowering), rtx, settings):
        record = engine.record
        assert record.precision == dtype
        # All convolutions and matrix products that depend on the inputs.
        assert set(record.layers["convolution"]) == set(record.layers["matrix product"]) == {dtype}
        header = plan_header(engine.plan)
        assert header == {"bytes": len(engine.plan), "version": rtx.version, "targets": targets}
        assert record.bytes == len(engine.plan) > 10_000 and record.batch == (1, 1, 8)
        assert record.activation_bytes and record.scratch_bytes and record.weight_bytes
        assert record.build_seconds > 0


def test_half_engines_need_half_of_the_memory(bundle: Bundle, half: Bundle, rtx: Library) -> None:
    settings = BuildSettings(batch=ALL_BATCHES, targets=("sm86",))
    whole, halved = (compile_graph(rtx, made, "encoder", settings).record for made in (bundle, half))
    assert whole.weight_bytes is not None and halved.weight_bytes is not None
    assert halved.weight_bytes <= 0.55 * whole.weight_bytes
    assert halved.bytes <= 0.6 * whole.bytes


def test_layer_table_separates_kernels_on_weights_alone(built: BuiltEngine) -> None:
    assert count_precisions(built.layers) == built.record.layers
    kinds = {layer.kind for layer in built.layers}
    assert {"convolution", "matrix product", "other kernel"} <= kinds
    convolutions = [layer for layer in built.layers if layer.kind == "convolution"]
    assert all(layer.onnx_nodes for layer in convolutions)


def test_float32_engine_of_a_half_bundle_is_an_error(rtx: Library, bundles: Bundles) -> None:
    """A well-known bug of other exporters: an engine called FP16 that runs in FP32."""
    bundle = bundles("float32", "stack")
    claimed = dataclasses.replace(bundle.manifest.graphs["encoder"], precision="float16")
    with pytest.raises(NotVerifiedError, match=r"is float16 and the engine .* computes in float32"):
        build_engine(
            rtx, "encoder", claimed, bundle.graph_path("encoder"), BuildSettings(targets=("sm86",))
        )


def test_phases_are_reported(rtx: Library, half: Bundle) -> None:
    phases: list[str] = []
    graph = half.manifest.graphs["encoder"]
    settings = BuildSettings(targets=("sm86",))
    build_engine(rtx, "encoder", graph, half.graph_path("encoder"), settings, phases.append)
    assert "Building engine" in phases and len(phases) > 3


def test_file_that_is_not_a_graph_is_named(rtx: Library, half: Bundle, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph at all")
    with pytest.raises(EngineError, match=r"TensorRT-RTX .* cannot read .*broken\.onnx.*ONNX") as error:
        build_engine(
            rtx, "encoder", half.manifest.graphs["encoder"], tmp_path / "broken.onnx", BuildSettings()
        )
    assert "\n" not in str(error.value) and "cudaError" not in str(error.value)


def test_profile_that_does_not_fit_the_graph_is_an_error(rtx: Library, half: Bundle) -> None:
    graph = half.manifest.graphs["encoder"]
    other = dataclasses.replace(graph.inputs[0], shape=("batch", 32, 32, 3))
    with pytest.raises(EngineError, match=r"cannot build encoder\.onnx"):
        build_engine(
            rtx,
            "encoder",
            dataclasses.replace(graph, inputs=(other,)),
            half.graph_path("encoder"),
            BuildSettings(targets=("sm86",)),
        )


# In a bundle ------------------------------------------------------------------------------------


def test_engines_travel_in_the_bundle_and_its_manifest(half: Bundle, rtx: Library, tmp_path: Path) -> None:
    shutil.copytree(half.path, tmp_path / "b")
    bundle = Bundle.open(tmp_path / "b")
    for targets in (("sm86",), ("sm89",)):  # the second replaces the first
        added = add_engines(bundle, build_engines(bundle, rtx, BuildSettings(targets=targets)))
        reopened = Bundle.open(tmp_path / "b")
        assert reopened.manifest == added.manifest
        assert [(r.graph, r.targets) for r in reopened.manifest.engines] == [
            ("encoder", targets),
            ("matcher", targets),
        ]
        for record in reopened.manifest.engines:
            content, found = read_plan(tmp_path / "b" / record.file)
            assert found == record and len(content) == record.bytes
        bundle = reopened


def test_build_command_compiles_an_existing_bundle(half: Bundle, tmp_path: Path, dcc_here: Cli) -> None:
    shutil.copytree(half.path, tmp_path / "b")
    result = dcc_here("build", tmp_path / "b", "--target", "sm86,sm120", "--batch", "1:2:4", "--json")
    assert result.returncode == 0, result.stderr
    records = json.loads(result.stdout)
    assert [(r["graph"], r["precision"]) for r in records] == [
        ("encoder", "float16"),
        ("matcher", "float16"),
    ]
    assert records[0]["targets"] == ["sm86", "sm120"] and records[0]["batch"] == [1, 2, 4]
    assert len(Bundle.open(tmp_path / "b").manifest.engines) == 2
    info = dcc_here("info", tmp_path / "b" / "matcher.tensorrt_rtx.engine")
    assert info.returncode == 0 and "sm86, sm120" in info.stdout and "float16" in info.stdout
    elsewhere = dcc_here("build", tmp_path / "b", "--target", "sm75", "-o", tmp_path / "plans")
    assert elsewhere.returncode == 0
    names = {path.name for path in (tmp_path / "plans").iterdir()}
    assert names == {
        f"{graph}.tensorrt_rtx.engine{end}" for graph in ("encoder", "matcher") for end in ("", ".json")
    }


def test_export_compiles_in_one_go(half: Bundle, built: BuiltEngine, tmp_path: Path, dcc_here: Cli) -> None:
    save_checkpoint(build(PLAIN), tmp_path / "plain.safetensors")
    shutil.copytree(half.path, tmp_path / "b")
    add_engines(Bundle.open(tmp_path / "b"), [built])  # export replaces a bundle with its engines
    arguments = (
        "--fp16",
        "--conv4d",
        "stack",
        "--format",
        "engine",
        "--target",
        "sm86",
        "-o",
        tmp_path / "b",
    )
    result = dcc_here("export", tmp_path / "plain.safetensors", *arguments)
    assert result.returncode == 0, result.stderr
    manifest = Bundle.open(tmp_path / "b").manifest
    assert {r.precision for r in manifest.engines} == {"float16"} and len(manifest.engines) == 2


# Refusals ------------------------------------------------------------------------------------


def test_plan_and_sidecar_belong_together(plan: Path, built: BuiltEngine) -> None:
    content, record = read_plan(plan)
    assert content == built.plan and record == built.record
    sidecar = read_sidecar(plan)
    assert sidecar is not None and sidecar.layers == built.layers


def test_altered_plan(plan: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    plan.write_bytes(data)
    with pytest.raises(EngineError, match="not the engine that was built"):
        read_plan(plan)


def test_truncated_plan(plan: Path) -> None:
    size = plan.stat().st_size
    plan.write_bytes(plan.read_bytes()[: size // 3])
    with pytest.raises(EngineError, match=rf"has {size // 3} bytes of {size}: copy it again"):
        read_plan(plan)
    sidecar_path(plan).unlink()
    with pytest.raises(EngineError, match="copy it again"):  # trusted or not
        read_plan(plan, trust=True)


def test_plan_without_sidecar_must_be_trusted(plan: Path) -> None:
    sidecar_path(plan).unlink()
    with pytest.raises(EngineError, match="--trust-engine"):
        read_plan(plan)
    assert read_plan(plan, trust=True)[1] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "damaged"),
        ("[]", "damaged .the content must be an object"),
        ("{}", "damaged .schema is missing"),
        ('{"schema": 9}', "its schema is 9"),
        ('{"schema": 1, "engine": {}}', "damaged .layers is missing"),
        ('{"schema": 1, "engine": {}, "layers": []}', "damaged .engine.graph is missing"),
    ],
)
def test_damaged_sidecar(plan: Path, text: str, reason: str) -> None:
    sidecar_path(plan).write_text(text)
    with pytest.raises(EngineError, match=f"{reason}.*build the engine again"):
        read_plan(plan)


@pytest.mark.parametrize(
    ("part", "field", "value", "reason"),
    [
        ("engine", "batch", [1, 1], "engine.batch must have 3 items, got 2"),
        ("engine", "version", 11, "engine.version must be str, got int"),
        ("engine", "file", "../x.engine", "engine: file '../x.engine' lies outside"),
        ("layers", "onnx_nodes", "conv", r"layers\[0\].onnx_nodes must be a list, got str"),
    ],
)
def test_edited_sidecar_names_the_wrong_field(
    plan: Path, part: str, field: str, value: object, reason: str
) -> None:
    values = json.loads(sidecar_path(plan).read_text())
    (values["layers"][0] if part == "layers" else values[part])[field] = value
    sidecar_path(plan).write_text(json.dumps(values))
    with pytest.raises(EngineError, match=f"is damaged .{reason}.*build the engine again"):
        read_plan(plan)


def test_missing_plan(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        read_plan(tmp_path / "none.engine")


def test_engine_of_another_version(plan: Path, built: BuiltEngine, rtx: Library) -> None:
    newer = Library(rtx.name, "1.9.0", rtx.module)
    for record in (built.record, None):  # from the sidecar and, without one, from the header
        with pytest.raises(EngineError, match=r"built by TensorRT-RTX .* and 1\.9\.0 is installed"):
            check_loadable(plan, record, built.plan, newer, GPU)


def test_engine_for_another_gpu(plan: Path, built: BuiltEngine, rtx: Library) -> None:
    for record in (built.record, None):
        with pytest.raises(EngineError, match="built for sm86 and this GPU is sm89"):
            check_loadable(plan, record, built.plan, rtx, GpuRecord("Ada", (8, 9)))
        check_loadable(plan, record, built.plan, rtx, GPU)


def test_engine_of_the_other_library(plan: Path, built: BuiltEngine) -> None:
    classic = Library(TENSORRT, "11.4.0", ModuleType("tensorrt"))
    with pytest.raises(EngineError, match="an engine of TensorRT-RTX, not of TensorRT"):
        check_loadable(plan, built.record, built.plan, classic, GPU)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--target", "sm90"], 2, "has no target sm90: choose from sm75"),
        (
            ["--library", "tensorrt_rtx", "--hardware-compatibility", "ampere+"],
            2,
            "use --target with",
        ),
        (["--target", "sm86", "--timing-cache", "t.cache"], 2, "remove --timing-cache"),
        (["--target", "sm86", "--batch", "4:2:8"], 2, "1 <= MIN <= OPT <= MAX"),
        (["--target", "sm86", "--batch", "many"], 2, "MIN:OPT:MAX"),
        (["--target", "sm86", "--batch", "1:x:2"], 2, "MIN:OPT:MAX"),
        (["--target", "sm86", "--workspace", "lots"], 2, "such as 512M"),
        (["--library", "tensorrt"], 1, "TensorRT is not installed: pip install"),
        (["--target", "sm86", "-o", "/proc/none/plans"], 1, "cannot write"),
    ],
)
def test_bad_requests_of_the_build_command(
    arguments: list[str], code: int, sentence: str, half: Bundle, dcc_here: Cli
) -> None:
    result = dcc_here("build", half.path, *arguments)
    assert result.returncode == code and sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and not result.stdout


def test_tensorrt_without_a_gpu_says_where_to_build(half: Bundle) -> None:
    fake = FakeTensorRT()
    fake.has_gpu = False
    library = Library(TENSORRT, "11.4.0.106", fake.module)
    with pytest.raises(EngineError, match=r"only on a machine with an NVIDIA GPU.*--target"):
        compile_graph(library, half, "encoder", BuildSettings())


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineError, match=re.escape(install("rtx"))):
        load_library(RTX)


# TensorRT, emulated -----------------------------------------------------------------------------


@pytest.fixture
def fake() -> FakeTensorRT:
    return FakeTensorRT()


@pytest.fixture
def classic(fake: FakeTensorRT) -> Library:
    return Library(TENSORRT, "11.4.0.106", fake.module)


def content(engine: BuiltEngine) -> dict[str, object]:
    configuration: dict[str, object] = json.loads(engine.plan.partition(b"fake plan ")[2])["config"]
    return configuration


def test_settings_reach_tensorrt(classic: Library, half: Bundle) -> None:
    settings = BuildSettings(
        batch=ALL_BATCHES,
        workspace=1 << 30,
        optimization_level=4,
        hardware_compatibility="ampere+",
    )
    engine = compile_graph(classic, half, "encoder", settings)
    assert content(engine) == {
        "flags": [],
        "limits": {"WORKSPACE": 1 << 30},
        "level": 4,
        "compatibility": "AMPERE_PLUS",
        "targets": [],
    }
    assert content(compile_graph(classic, half, "encoder", BuildSettings(tf32=True)))["flags"] == ["TF32"]
    assert engine.record.activation_bytes == 1024 and engine.record.precision == "float16"
    assert engine.record.layers == {"convolution": {"float16": 1}, "matrix product": {"float16": 1}}


def test_inspector_without_types_leaves_the_precision_unknown(
    classic: Library, fake: FakeTensorRT, half: Bundle
) -> None:
    fake.layers = ["a bare name", "another"]  # type: ignore[list-item]
    assert compile_graph(classic, half, "encoder", BuildSettings()).record.precision == "unknown"


def test_unrequested_float32_of_tensorrt_is_an_error(
    classic: Library, fake: FakeTensorRT, half: Bundle
) -> None:
    fake.layers = [
        {
            "Name": "conv",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "frame", "Dimensions": [1, 3], "Format/Datatype": "Row major linear FP32"}],
            "Outputs": [{"Name": "y", "Dimensions": [1, 3], "Format/Datatype": "Row major linear FP32"}],
        }
    ]
    with pytest.raises(NotVerifiedError, match="computes in float32"):
        compile_graph(classic, half, "encoder", BuildSettings())


def test_failed_build_reports_the_first_error_only(
    classic: Library, fake: FakeTensorRT, half: Bundle
) -> None:
    fake.fail = {"build_serialized_network"}
    with pytest.raises(EngineError, match="no implementation for node conv") as error:
        compile_graph(classic, half, "encoder", BuildSettings())
    assert "cudaError" not in str(error.value)


def test_last_error_is_the_reason(classic: Library) -> None:
    messages = Messages(classic.module)
    error = classic.module.ILogger.Severity.ERROR
    assert messages.reason == "no reason given"
    messages.logger.log(error, "[graph] a capture that failed an hour ago")
    messages.logger.log(error, "[exec] the failure\nof now")
    assert messages.reason == "[exec] the failure of now"
    messages.logger.log(error, "[checkMacros] Error Code 1: Cuda Runtime (cudaError 35)")
    assert messages.reason == "[exec] the failure of now"
    messages.errors.clear()
    messages.logger.log(error, "CUDA initialization failure with error: 35")
    assert messages.reason == "CUDA initialization failure with error: 35"


def inspected(name: str, kind: str, dtype: str) -> dict[str, object]:
    tensor = {"Dimensions": [1, 3], "Format/Datatype": dtype}
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [{"Name": "frame", **tensor}],
        "Outputs": [{"Name": "y", **tensor}],
    }


@pytest.mark.parametrize(
    "layer",
    [
        inspected("{ForeignNode[conv1...softmax]}", "Myelin", "Row major linear FP32"),
        inspected("conv1 + conv2", "CaskConvolution", "N/A due to dynamic shapes"),
    ],
)
def test_fused_layer_of_unknown_precision_is_told(
    layer: dict[str, object], fake: FakeTensorRT, classic: Library, half: Bundle
) -> None:
    fake.layers = [inspected("conv", "CaskConvolution", "Row major linear FP16"), layer]
    engine = compile_graph(classic, half, "encoder", BuildSettings())
    assert engine.record.precision == "float16"
    (warning,) = engine.warnings
    assert f"precision of 1 fused kernels of the encoder, such as {layer['Name']}" in warning
    kind = "convolution" if "conv1 +" in str(layer["Name"]) else "fused kernel"
    assert engine.record.layers[kind]["unknown"] == 1


@pytest.mark.parametrize(("others", "raises"), [(1, False), (2, True)])
def test_fewer_kernels_in_int8_may_be_fused(
    others: int, raises: bool, fake: FakeTensorRT, classic: Library, half: Bundle
) -> None:
    graph = half.manifest.graphs["encoder"]
    counts = {"convolution": {"int8": 2, "float16": 1}}
    graph = dataclasses.replace(graph, precision="float16+int8", layers=counts)
    fake.layers = [
        inspected("a", "CaskConvolution", "Int8"),
        *[inspected(f"b{i}", "CaskConvolution", "Half") for i in range(others)],
    ]
    path, settings = half.graph_path("encoder"), BuildSettings()
    if raises:
        with pytest.raises(NotVerifiedError, match=r"has 2 convolutions in int8 .* has 1"):
            build_engine(classic, "encoder", graph, path, settings)
    else:
        (warning,) = build_engine(classic, "encoder", graph, path, settings).warnings
        assert "2 convolutions in int8 and its engine 1" in warning


def test_timing_cache_is_extended_and_merged(classic: Library, half: Bundle, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    settings = BuildSettings(timing_cache=cache)
    compile_graph(classic, half, "encoder", settings)
    assert cache.read_text() == "encoder.onnx"
    cache.write_text("encoder.onnx\nfrom another build")  # as if another build had finished meanwhile
    compile_graph(classic, half, "matcher", settings)
    assert cache.read_text().split("\n") == ["encoder.onnx", "from another build", "matcher.onnx"]
    assert list(tmp_path.iterdir()) == [cache]


def test_timing_cache_survives_a_failed_build(
    classic: Library, fake: FakeTensorRT, half: Bundle, tmp_path: Path
) -> None:
    cache = tmp_path / "timing.cache"
    cache.write_text("mine")
    fake.fail = {"build_serialized_network"}
    with pytest.raises(EngineError):
        compile_graph(classic, half, "encoder", BuildSettings(timing_cache=cache))
    assert cache.read_text() == "mine"


def test_timing_cache_of_another_gpu_is_not_changed(
    classic: Library, fake: FakeTensorRT, half: Bundle, tmp_path: Path
) -> None:
    cache = tmp_path / "timing.cache"
    cache.write_text("of another GPU")
    fake.fail = {"set_timing_cache"}
    with pytest.raises(EngineError, match=r"not a timing cache of this GPU.*name another file"):
        compile_graph(classic, half, "encoder", BuildSettings(timing_cache=cache))
    assert cache.read_text() == "of another GPU"


# Several GPUs -----------------------------------------------------------------------------------


@pytest.fixture
def two_gpus(tmp_path: Path) -> Iterator[Machine]:
    with emulated(tmp_path / "cache") as machine:
        machine.cuda.gpus = (Properties(name=b"First", minor=0), Properties(name=b"Second", minor=9))
        yield machine


def test_engine_is_built_and_inspected_on_the_requested_gpu(two_gpus: Machine, half: Bundle) -> None:
    library = load_library(TENSORRT)
    build_engines(half, library, BuildSettings(), device=open_device(1))
    assert two_gpus.tensorrt.used_gpus == {
        "build_serialized_network": {1},
        "deserialize_cuda_engine": {1},
    }


def test_engine_is_built_on_first_use_on_the_requested_gpu(two_gpus: Machine, half: Bundle) -> None:
    Matcher.open(half, backend="tensorrt", device="cuda:1").backend.close()
    assert two_gpus.tensorrt.used_gpus == {
        "build_serialized_network": {1},
        "deserialize_cuda_engine": {1},
    }


def test_build_command_takes_a_device(
    two_gpus: Machine, half: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(half.path, tmp_path / "b")
    arguments = [str(tmp_path / "b"), "--library", "tensorrt", "--device"]
    build_command.main([*arguments, "cuda:1"], standalone_mode=False)
    assert two_gpus.tensorrt.used_gpus["build_serialized_network"] == {1}
    for device, sentence in (("cuda:2", "there is no cuda:2"), ("cpu", "engines are for GPUs")):
        with pytest.raises(DccError, match=sentence):
            build_command.main([*arguments, device], standalone_mode=False)


def test_record_names_the_gpu_and_its_driver(
    two_gpus: Machine, half: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Release\n"
    )
    monkeypatch.setattr(gpu_records, "NVIDIA_DRIVER", tmp_path / "version")
    library = load_library(TENSORRT)
    for engine in build_engines(half, library, BuildSettings(), device=open_device(1)):
        assert engine.record.gpu == GpuRecord("Second", (8, 9), "580.65.06")
        sidecar = read_sidecar(write_engine(engine, tmp_path))
        assert sidecar is not None and sidecar.engine == engine.record


@pytest.fixture
def of_first_gpu(two_gpus: Machine, half: Bundle, tmp_path: Path) -> Bundle:
    """A bundle with engines that were built on the first GPU."""
    shutil.copytree(half.path, tmp_path / "b")
    copied = Bundle.open(tmp_path / "b")
    engines = build_engines(copied, load_library(TENSORRT), BuildSettings(), device=open_device(0))
    return add_engines(copied, engines)


def test_engines_of_another_gpu_are_named_and_built_for_this_one(
    two_gpus: Machine, of_first_gpu: Bundle
) -> None:
    notes: list[str] = []
    matcher = Matcher.open(of_first_gpu, device="cuda:1", on_note=notes.append)
    assert "built on First (sm80) and this GPU is Second (sm89)" in notes[0]
    assert "building engines" in notes[1] and len(notes) == 2
    assert matcher.backend.description == "TensorRT 11.4.0.106 on cuda:1 (Second)"


def test_engines_of_version_0_1_do_not_name_their_gpu(two_gpus: Machine, of_first_gpu: Bundle) -> None:
    manifest = of_first_gpu.manifest
    engines = tuple(dataclasses.replace(record, gpu=None) for record in manifest.engines)
    old = Bundle(of_first_gpu.path, dataclasses.replace(manifest, engines=engines))
    notes: list[str] = []
    matcher = Matcher.open(old, device="cuda:1", on_note=notes.append)
    assert "cannot load" in notes[0] and "incompatible device" in notes[0] and "building" in notes[1]
    assert matcher.backend.description == "TensorRT 11.4.0.106 on cuda:1 (Second)"
    notes.clear()
    Matcher.open(old, device="cuda:0", on_note=notes.append)
    assert not notes  # this is the GPU that they were built on


@pytest.mark.parametrize("compatibility", ["ampere+", "same-capability"])
def test_engines_for_other_gpus_too(two_gpus: Machine, half: Bundle, compatibility: str) -> None:
    settings = BuildSettings(hardware_compatibility=compatibility)
    library = load_library(TENSORRT)
    engine = build_engines(half, library, settings, device=open_device(0))[0]
    for capability, runs in (((8, 0), True), ((8, 9), compatibility == "ampere+"), ((7, 5), False)):
        gpu = GpuRecord("Third", capability)
        if runs:
            check_loadable(Path("plan"), engine.record, engine.plan, library, gpu)
            continue
        with pytest.raises(EngineError, match=r"built on First .* this GPU is Third"):
            check_loadable(Path("plan"), engine.record, engine.plan, library, gpu)


def test_cached_plan_that_no_longer_loads_is_built_again(
    two_gpus: Machine, half: Bundle, tmp_path: Path
) -> None:
    Matcher.open(half, backend="tensorrt").backend.close()
    (plan,) = (tmp_path / "cache").rglob("encoder.tensorrt.engine")
    record = sidecar_path(plan)
    plan.write_bytes(b"of a driver that is gone")
    values = json.loads(record.read_text())
    values["engine"]["sha256"] = sha256_of(plan.read_bytes())
    record.write_text(json.dumps(values))
    for expected in (["cannot load", "building engines"], []):
        notes: list[str] = []
        Matcher.open(half, on_note=notes.append).backend.close()
        assert len(notes) == len(expected) and all(e in n for e, n in zip(expected, notes, strict=True))


@pytest.mark.parametrize(("major", "minor"), [(9, 0), (10, 0)])
def test_tensorrt_rtx_says_that_it_has_no_target_before_it_builds(
    major: int, minor: int, half: Bundle, tmp_path: Path
) -> None:
    with emulated(tmp_path, "tensorrt_rtx") as machine:
        machine.cuda.gpus = (Properties(name=b"H100", major=major, minor=minor),)
        with pytest.raises(
            EngineError, match=rf"not support H100: it has no target sm{major}{minor}.*\[gpu"
        ):
            Matcher.open(half, backend="tensorrt")
        assert not machine.tensorrt.used_gpus and not list(tmp_path.rglob("*.engine"))


@pytest.mark.parametrize("damage", ["", "set_timing_cache", "not writable"])
def test_timings_of_builds_are_kept_by_default(
    damage: str, half: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path / "cache") as machine:
        Matcher.open(half, backend="tensorrt").close()
        (cache,) = (tmp_path / "cache/dcc/engines/timings").iterdir()
        assert cache.read_text().split("\n") == ["encoder.onnx", "matcher.onnx"]
        cache.write_text("of another build")
        if damage == "not writable":

            def refuse(path: Path) -> None:
                raise PermissionError(path)

            monkeypatch.setattr("dccnet.runtime.tensorrt.builder.atomic_path", refuse)
        elif damage:
            machine.tensorrt.fail = {damage}
        build_engines(half, load_library(TENSORRT), BuildSettings(), device=open_device(0))
        kept = ["encoder.onnx", "matcher.onnx"] if not damage else []
        assert cache.read_text().split("\n") == sorted([*kept, "of another build"])
        machine.cuda.gpus = (Properties(name=b"Another"),)
        build_engines(half, load_library(TENSORRT), BuildSettings(), device=open_device(0))
        assert damage or len(list(cache.parent.iterdir())) == 2


# Compared with the graphs -----------------------------------------------------------------------


@pytest.fixture
def one_gpu(tmp_path: Path) -> Iterator[Machine]:
    with emulated(tmp_path / "cache") as machine:
        yield machine


@pytest.fixture
def copied(half: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(half.path, tmp_path / "b")
    return Bundle.open(tmp_path / "b")


def run_build(bundle: Bundle, *arguments: str) -> Manifest:
    build_command.main([str(bundle.path), *arguments], standalone_mode=False)
    return Bundle.open(bundle.path).manifest


def swap_cells(name: str, value: Array) -> Array:
    return np.roll(value, 1, axis=-1) if name == "score_a" else value


def blur_features(name: str, value: Array) -> Array:
    return value + 0.1 * np.abs(value).mean() if name == "context" else value


def not_finite(name: str, value: Array) -> Array:
    return value * np.nan if name == "score_b" else value


@pytest.mark.parametrize("library", [TENSORRT, RTX])
def test_built_engines_are_compared_on_the_gpu(library: str, copied: Bundle, tmp_path: Path) -> None:
    with emulated(tmp_path / "cache", library) as machine:
        records = run_build(copied).engines
        assert not machine.cuda.memory and set(machine.cuda.streams) == {0, 1, 2}
        for record in records:
            sidecar = read_sidecar(copied.path / record.file)
            assert sidecar is not None and sidecar.engine == record
            assert record.comparison is not None and record.comparison.passed
            assert record.comparison.gpu.name == "Emulated GPU"
            assert record.comparison.identical_cells == 1 and record.comparison.counted_cells > 0.5
        contexts = machine.tensorrt.contexts
        Matcher.open(copied.path, backend="tensorrt")
        assert machine.tensorrt.contexts == contexts  # they are not compared again


def test_built_engines_for_other_gpus_are_not_compared(copied: Bundle, dcc_here: Cli) -> None:
    result = dcc_here("build", copied.path, "--target", "sm86")
    assert result.returncode == 0 and "not compared: no GPU here runs them" in result.stderr
    assert all(r.comparison is None for r in Bundle.open(copied.path).manifest.engines)


@pytest.mark.parametrize(
    ("distort", "worst"),
    [
        (swap_cells, "matcher: score_a"),
        (blur_features, "encoder: context"),
        (not_finite, "matcher: score_b"),
        (lambda name, value: value[..., ::-1] if name == "index_b" else value, "matcher: index_b"),
    ],
)
def test_built_engines_that_disagree_are_not_written(
    distort: Callable[[str, Array], Array], worst: str, one_gpu: Machine, copied: Bundle
) -> None:
    one_gpu.tensorrt.distort = distort
    with pytest.raises(
        NotVerifiedError, match=f"disagree with the graphs .*: {worst} .*no engine was written"
    ):
        run_build(copied)
    assert NotVerifiedError.exit_code == 3
    assert not list(copied.path.glob("*.engine*")) and not Bundle.open(copied.path).manifest.engines


def test_engines_are_compared_once_at_first_use(one_gpu: Machine, half: Bundle) -> None:
    for contexts in (2, 2):
        Matcher.open(half, backend="tensorrt").close()
        assert one_gpu.tensorrt.contexts == contexts


def test_engines_are_compared_again_after_an_update_of_the_driver(
    one_gpu: Machine, copied: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_build(copied)
    (tmp_path / "version").write_text("NVRM version: 590.11\n")
    monkeypatch.setattr(gpu_records, "NVIDIA_DRIVER", tmp_path / "version")
    one_gpu.tensorrt.distort = not_finite
    with pytest.raises(NotVerifiedError, match=r"driver 590\.11.*matcher: score_b"):
        Matcher.open(copied.path, backend="tensorrt")


def test_engines_that_disagree_at_first_use_are_refused(one_gpu: Machine, half: Bundle) -> None:
    one_gpu.tensorrt.distort = not_finite
    for _ in range(2):  # the second time, the comparison is read from the cache
        with pytest.raises(NotVerifiedError, match="matcher: score_b"):
            Matcher.open(half, backend="tensorrt")
    assert one_gpu.tensorrt.contexts == 2
    notes: list[str] = []
    matcher = Matcher.open(half, on_note=notes.append)
    assert "(CPU)" in matcher.backend.description and "matcher: score_b" in notes[0]


def test_engines_that_cannot_be_compared_are_used_and_this_is_said(
    one_gpu: Machine, half: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    notes: list[str] = []
    matcher = Matcher.open(half, on_note=notes.append)
    assert "TensorRT" in matcher.backend.description
    assert "were not compared with their graphs: no inference engine is installed" in notes[-1]


def test_synthetic_frames_are_always_the_same_and_have_no_equal_places() -> None:
    frames = synthetic_frames((96, 80))
    for frame, again in zip(frames, synthetic_frames((96, 80)), strict=True):
        assert frame.shape == (96, 80, 3) and frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, again)
    blocks = {frames[0][y : y + 4, x : x + 4].tobytes() for y in range(92) for x in range(76)}
    assert len(blocks) == 92 * 76


# Reading reports --------------------------------------------------------------------------------


REPORT = """Layers:
Name: start, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata: 
Name: kernels, LayerType: gemm, Inputs: [], Constants: [ { Name: w, Dimensions: [5,5], Strides: [5,1], Datatype: Float, Format: x }], Outputs: [ { Name: spectrum, Dimensions: [9,5], Strides: [5,1], Datatype: Float, Format: x }], TacticName: , StreamId: 0, Metadata: [ONNX Layer: node_mm]
Name: conv, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [-1,3,8,8], Strides: [1], Datatype: Half, Format: x }, { Name: spectrum, Dimensions: [9,5], Strides: [1], Datatype: Float, Format: x }], Constants: [], Outputs: [ { Name: y, Dimensions: [-1,3,8,8], Strides: [1], Datatype: Half, Format: x }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: node_Conv_1][ONNX Layer: node_relu]
Name: __myl_FcMul_0, LayerType: runtime_fusion, Inputs: [ { Name: scale, Dimensions: [1], Strides: [1], Datatype: Float, Format: x }, { Name: y, Dimensions: [-1,3,8,8], Strides: [1], Datatype: Half, Format: x }], Constants: [], Outputs: [ { Name: z, Dimensions: [-1,3], Strides: [1], Datatype: Float, Format: x }], TacticName: t, StreamId: 0, Metadata: 
"""  # noqa: E501, W291  (as the library prints it)


def test_report_of_tensorrt_rtx() -> None:
    layers = parse_report(REPORT, ["x"])
    assert [(layer.kind, layer.precision) for layer in layers] == [
        ("on weights alone", "float32"),
        ("convolution", "float16"),
        ("matrix product", "float16"),  # its scale is float32, its matrices are not
    ]
    assert layers[1].onnx_nodes == ("node_Conv_1", "node_relu")
    assert compute_precision(layers) == "float16"
    assert parse_report("", ["x"]) == () and compute_precision(()) == ""


def test_inspector_of_tensorrt() -> None:
    def layer(kind: str, reads: str, writes: str, dtype: str) -> dict[str, object]:
        def tensor(name: str) -> dict[str, object]:
            return {"Name": name, "Dimensions": [1, 4], "Format/Datatype": dtype}

        return {"Name": kind, "LayerType": kind, "Inputs": [tensor(reads)], "Outputs": [tensor(writes)]}

    text = json.dumps(
        {
            "Layers": [
                layer("CaskConvolution", "x", "y", "Channel major FP16 format where channel % 8 == 0"),
                layer("MatrixMultiply", "w", "k", "Row major linear FP32 format"),
                layer("kgen", "y", "z", "Float"),
            ]
        }
    )
    assert [(found.kind, found.precision) for found in parse_inspector(text, ["x"])] == [
        ("convolution", "float16"),
        ("on weights alone", "float32"),
        ("other kernel", "float32"),
    ]


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("2G", 2 << 30), ("1.5GiB", 3 << 29), ("4096", 4096), ("8kb", 8192)],
)
def test_memory_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1G", "0", "1T"])
def test_invalid_memory_sizes(text: str) -> None:
    with pytest.raises(UsageError):
        parse_bytes(text)


def test_batches() -> None:
    assert BatchRange.parse("1:2:8") == (1, 2, 8) and BatchRange.parse("4") == (4, 4, 4)
    for text in ("0", "0:1:1", "2:1:3", "1:2", "1:2:3:4", ""):
        with pytest.raises(UsageError):
            BatchRange.parse(text)


def test_records_round_trip_as_json(built: BuiltEngine) -> None:
    values = json.loads(json.dumps(dataclasses.asdict(built.record)))
    assert decode(EngineRecord, values) == built.record
    with pytest.raises(DecodingError, match="outside the bundle"):
        decode(EngineRecord, values | {"file": "../x.engine"})
    assert isinstance(built.record.inputs[0].shape, tuple)
