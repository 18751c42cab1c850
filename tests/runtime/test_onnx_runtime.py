"""How ONNX Runtime's GPU providers are asked for, with an emulated session: no GPU is needed."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle, read_manifest, write_manifest
from dccnet.runtime.errors import BundleError, EngineError, NotVerifiedError, UsageError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import BUILT_IN, DEFAULT
from dccnet.runtime.onnx_runtime import OLDEST, OnnxRuntimeGraph
from dccnet.runtime.selection import BackendChoice, open_backend
from tests.helpers.paths import ROOT

CUDA, CPU = (f"{name}ExecutionProvider" for name in ("CUDA", "CPU"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of an onnxruntime-gpu whose CUDA provider works."""
    made: list[Any] = []

    def session(path: str, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
        made.append(providers[0])
        return SimpleNamespace(get_providers=lambda: [providers[0][0]], get_inputs=list, get_outputs=list)

    def preload() -> None:
        made.append("preload_dlls")
        print("Failed to load libcublas")  # as ONNX Runtime does

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    return made


def test_libraries_of_wheels_are_loaded_before_the_cuda_provider(
    calls: list[Any], bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle.graph_path("encoder")
    OnnxRuntimeGraph(path, "cuda", 1)
    assert calls == ["preload_dlls", (CUDA, {"device_id": "1", "use_tf32": "0"})]
    assert not capsys.readouterr().out  # which may be JSON
    calls.clear()
    OnnxRuntimeGraph(path)
    assert calls == [(CPU, {})]


def test_older_versions_cannot_load_them(
    calls: list[Any], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(onnxruntime, "preload_dlls")
    OnnxRuntimeGraph(bundle.graph_path("encoder"), "cuda")
    assert calls == [(CUDA, {"device_id": "0", "use_tf32": "0"})]


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_used_only_if_asked_for(tf32: bool, calls: list[Any], bundle: Bundle) -> None:
    open_backend(bundle, BackendChoice("onnxruntime", "cuda:0", tf32=tf32))
    assert [call[1]["use_tf32"] for call in calls if call[0] == CUDA] == [str(int(tf32))] * 2


def test_tensorrt_provider_is_replaced_by_engines(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="--backend tensorrt runs engines"):
        open_backend(bundle, BackendChoice(provider="tensorrt"))
    with pytest.raises(UsageError, match="no provider 'rocm': choose from cpu, cuda, directml"):
        open_backend(bundle, BackendChoice(provider="rocm"))


@pytest.mark.parametrize(
    ("provider", "listed", "options"),
    [
        ("directml", "DmlExecutionProvider", {"device_id": "0"}),
        ("coreml", "CoreMLExecutionProvider", {"ModelFormat": "MLProgram"}),
        ("xnnpack", "XnnpackExecutionProvider", {"intra_op_num_threads": "2"}),
    ],
)
def test_other_providers_are_asked_for_compared_and_never_replaced_silently(
    bundle: Bundle, provider: str, listed: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such provider is here: a session on the CPU stands in for it."""
    real, asked, used = onnxruntime.InferenceSession, [], [listed]

    def session(path: str, settings: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
        asked.append(providers[0])
        opened = real(path, settings, providers=[CPU])
        if providers[0][0] != CPU:
            opened.get_providers = lambda: used
        return opened

    with pytest.raises(EngineError, match=f"this onnxruntime has no {listed}: "):
        open_backend(bundle, BackendChoice(provider=provider, threads=2))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [listed, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    backend = open_backend(bundle, BackendChoice(provider=provider, threads=2))
    assert asked[:2] == [(listed, options)] * 2 and asked[2][0] == CPU  # what it is compared with
    assert backend.description == f"ONNX Runtime {onnxruntime.__version__} ({listed})"
    used[0] = CPU
    with pytest.raises(EngineError, match=f"{listed} was requested and ONNX Runtime fell back to"):
        open_backend(bundle, BackendChoice(provider=provider, threads=2))
    with pytest.raises(UsageError, match="does not run on cuda:0"):
        open_backend(bundle, BackendChoice(provider=provider, device="cuda:0"))


def test_a_provider_that_computes_something_else_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxRuntimeGraph.run

    def run(self: OnnxRuntimeGraph, inputs: Any) -> dict[str, Any]:
        found = real(self, inputs)
        return {n: v * 1.01 for n, v in found.items()} if self.provider == "xnnpack" else found

    def init(self: OnnxRuntimeGraph, path: Path, provider: str = "cpu", *rest: Any, **named: Any) -> None:
        self.provider = provider
        original(self, path, "cpu", *rest, **named)

    original = OnnxRuntimeGraph.__init__
    monkeypatch.setattr(OnnxRuntimeGraph, "__init__", init)
    monkeypatch.setattr(OnnxRuntimeGraph, "run", run)
    with pytest.raises(NotVerifiedError, match="XnnpackExecutionProvider disagrees with ONNX Runtime"):
        open_backend(bundle, BackendChoice(provider="xnnpack"))


# Features on the GPU --------------------------------------------------------------------------------


@dataclass
class Bound:
    """What a CUDA provider that computes on the CPU was asked for."""

    places: list[tuple[str, str]] = field(default_factory=list)
    """Names and places that were bound."""
    options: list[dict[str, str]] = field(default_factory=list)
    runs: int = 0
    """Without binding."""
    distort: Callable[[str, Any], Any] = lambda name, value: value

    def session(self, session: Any) -> Any:
        names = [output.name for output in session.get_outputs()]

        def run(outputs: None, inputs: dict[str, Any]) -> list[Any]:
            self.runs += 1
            values = session.run(outputs, inputs)
            return [self.distort(name, value) for name, value in zip(names, values, strict=True)]

        return SimpleNamespace(
            get_inputs=session.get_inputs,
            get_outputs=session.get_outputs,
            get_providers=lambda: [CUDA],
            io_binding=lambda: self.binding(session.io_binding()),
            run=run,
            run_with_iobinding=lambda binding: session.run_with_iobinding(binding.real),
        )

    def binding(self, real: Any) -> Any:
        def bind_input(name: str, kind: str, index: int, *rest: Any) -> None:
            self.places.append((name, f"{kind}:{index}"))
            real.bind_input(name, "cpu", 0, *rest)

        def bind_cpu_input(name: str, value: Any) -> None:
            self.places.append((name, "host"))
            real.bind_cpu_input(name, value)

        def bind_output(name: str, kind: str, index: int) -> None:
            self.places.append((name, f"{kind}:{index}"))
            real.bind_output(name, "cpu", 0)

        return SimpleNamespace(
            bind_input=bind_input,
            bind_cpu_input=bind_cpu_input,
            bind_output=bind_output,
            get_outputs=real.get_outputs,
            real=real,
        )


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Bound:
    """An onnxruntime whose CUDA provider computes on the CPU."""
    found, real = Bound(), onnxruntime.InferenceSession

    def session(path: str, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
        opened = real(path, options, providers=[CPU])
        if providers[0][0] == CPU:
            return opened
        found.options.append(providers[0][1])
        return found.session(opened)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    return found


def test_features_stay_on_the_gpu(
    bound: Bound, bundle: Bundle, photos: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = Matcher.open(bundle, backend="onnxruntime", device="cuda:1")
    reference = matcher.encode(photos[0])
    assert bound.places == [("frame", "host"), ("local", "cuda:1"), ("context", "cuda:1")]
    assert reference.tensors["local"].__dlpack_device__() == (2, 1)
    truth = Matcher.open(bundle, device="cpu")
    for photo in photos:
        bound.places.clear()
        found, true = matcher.match(reference, photo), truth.match(photos[0], photo)
        np.testing.assert_array_equal(found.index_a, true.index_a)
        np.testing.assert_array_equal(found.score_b, true.score_b)
    inputs = [(f"{branch}_{side}", "cuda:1") for side in "ab" for branch in ("local", "context")]
    assert bound.places[3:7] == inputs and {place for _, place in bound.places[7:]} == {"cpu:0"}
    with pytest.raises(EngineError, match="encode them again"):
        matcher.match(truth.encode(photos[0]), truth.encode(photos[0]))


def test_features_of_a_batch_are_parts_of_one_array(
    bound: Bound, bundle: Bundle, photos: list[Image]
) -> None:
    matcher, truth = Matcher.open(bundle, provider="cuda"), Matcher.open(bundle, device="cpu")
    pairs = [(photos[0], photo) for photo in photos]
    found = list(matcher.match_many(pairs, batch=3, cache_gb=0))
    assert [name for name, _ in bound.places].count("frame") == 1
    for one, true in zip(found, truth.match_many(pairs, batch=3), strict=True):
        np.testing.assert_array_equal(one.index_a, true.index_a)
        np.testing.assert_allclose(one.score_a, true.score_a, rtol=1e-5)


def test_features_outlive_their_matcher(bound: Bound, bundle: Bundle, photos: list[Image]) -> None:
    true = Matcher.open(bundle, device="cpu").encode(photos[0]).tensors["local"]
    matcher = Matcher.open(bundle, provider="cuda")
    features = matcher.encode(photos[0]).tensors["local"]
    matcher.close()
    del matcher
    gc.collect()
    memory = (ctypes.c_uint8 * features.nbytes).from_address(features.pointer)
    np.testing.assert_array_equal(np.frombuffer(memory, np.float32).reshape(features.shape), true)


def test_fine_features_are_copied_to_the_host(bound: Bound, photos: list[Image]) -> None:
    matcher, truth = (Matcher.open(**choice) for choice in ({"provider": "cuda"}, {"device": "cpu"}))  # type: ignore[arg-type]
    found, true = (each.match(photos[0], photos[1]) for each in (matcher, truth))
    assert ("fine", "cpu:0") in bound.places and ("local", "cuda:0") in bound.places
    np.testing.assert_allclose(
        found.transfer([[50.0, 60.0]], from_="a"), true.transfer([[50.0, 60.0]], from_="a"), atol=1e-3
    )


@pytest.fixture
def without_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An emulated GPU on which no engine can be built."""
    pytest.importorskip("cuda.bindings")
    from tests.helpers.emulation import emulated

    with emulated(tmp_path / "cache") as machine:
        machine.tensorrt.fail = {"build_serialized_network"}
        monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime)
        yield machine


def test_tf32_reaches_the_provider_that_auto_falls_back_to(
    without_engines: Any, bound: Bound, bundle: Bundle
) -> None:
    backend = open_backend(bundle, BackendChoice(tf32=True))
    assert CUDA in backend.description and {"device_id": "0", "use_tf32": "1"} in bound.options


def test_auto_compares_the_provider_with_the_cpu_once(
    without_engines: Any, bound: Bound, bundle: Bundle, tmp_path: Path
) -> None:
    for runs in (2, 2):  # encoder and matcher; then the result is read from the cache
        assert CUDA in open_backend(bundle, BackendChoice()).description
        assert bound.runs == runs
    assert len(list((tmp_path / "cache/dcc/engines/comparisons").iterdir())) == 1
    without_engines.cuda.gpus = (without_engines.cuda.gpus[0]._replace(name=b"Another"),)
    open_backend(bundle, BackendChoice())
    assert bound.runs == 4


def test_auto_passes_over_a_provider_that_disagrees(
    without_engines: Any, bound: Bound, bundle: Bundle
) -> None:
    bound.distort = lambda name, value: -value if name == "score_a" else value
    notes: list[str] = []
    assert "(CPU)" in open_backend(bundle, BackendChoice(), notes.append).description
    assert "ONNX Runtime's CUDA provider disagree with the graphs" in notes[-1]
    assert "matcher: score_a" in notes[-1]
    with pytest.raises(EngineError, match=r"nothing runs on cuda:0: .*matcher: score_a"):
        open_backend(bundle, BackendChoice(device="cuda:0"))
    open_backend(bundle, BackendChoice("onnxruntime", "cuda:0"))  # who asks for it gets it


@pytest.mark.parametrize("version", ["1.18.0", "1.19.2"])
def test_a_version_that_corrupts_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, version: str
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    with pytest.raises(EngineError, match=rf"onnxruntime {version} is too old: .*'onnxruntime>=1\.20'"):
        open_backend(bundle, BackendChoice())


def test_the_oldest_version_is_the_one_of_pyproject() -> None:
    assert f'cpu = ["onnxruntime>={OLDEST[0]}.{OLDEST[1]}"]' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"grid": (11, 44)}, r"says \(11, 44\) for 'local', its graph \(22, 22\)"),
        ({"image_size": (352, 300)}, r"says \(352, 300\) for 'frame', its graph \(352, 352\)"),
    ],
)
def test_sizes_in_the_manifest_are_those_of_the_graphs(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    """A grid of as many cells would pass, and all matches would lie at wrong places."""
    shutil.copytree(BUILT_IN / DEFAULT, tmp_path / "bundle")
    manifest = read_manifest(tmp_path / "bundle")
    write_manifest(tmp_path / "bundle", dataclasses.replace(manifest, **changed))
    with pytest.raises(BundleError, match=says):
        Matcher.open(tmp_path / "bundle", device="cpu")
