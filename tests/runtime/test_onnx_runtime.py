"""How ONNX Runtime's GPU providers are asked for, with an emulated session: no GPU is needed."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from dccnet.runtime.bundle import Bundle, read_manifest, write_manifest
from dccnet.runtime.errors import BundleError, EngineError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import BUILT_IN, DEFAULT
from dccnet.runtime.onnx_runtime import OLDEST, OnnxRuntimeGraph
from dccnet.runtime.selection import BackendChoice, open_backend
from tests.helpers.paths import ROOT

CUDA, TENSORRT, CPU = (f"{name}ExecutionProvider" for name in ("CUDA", "Tensorrt", "CPU"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of an onnxruntime-gpu whose CUDA provider works and whose TensorRT provider does not."""
    made: list[Any] = []

    def session(path: str, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
        made.append(providers[0])
        used = CPU if providers[0][0] == TENSORRT else providers[0][0]
        return SimpleNamespace(get_providers=lambda: [used], get_inputs=list, get_outputs=list)

    def preload() -> None:
        made.append("preload_dlls")
        print("Failed to load libcublas")  # as ONNX Runtime does

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
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


def test_tensorrt_provider_says_that_it_needs_tensorrt_10(
    calls: list[Any], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = r"TensorrtExecutionProvider .*needs TensorRT 10 .*--backend tensorrt"
    with pytest.raises(EngineError, match=sentence) as error:
        OnnxRuntimeGraph(bundle.graph_path("encoder"), "tensorrt")
    assert "\n" not in str(error.value)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(EngineError, match=sentence):
        OnnxRuntimeGraph(bundle.graph_path("encoder"), "tensorrt")


def test_tf32_reaches_the_provider_that_auto_falls_back_to(
    calls: list[Any], bundle: Bundle, tmp_path: Any
) -> None:
    pytest.importorskip("cuda.bindings")
    from tests.helpers.emulation import emulated

    with emulated(tmp_path) as machine:
        machine.tensorrt.fail = {"build_serialized_network"}
        sys.modules["onnxruntime"] = onnxruntime
        backend = open_backend(bundle, BackendChoice(tf32=True))
    assert CUDA in backend.description and (CUDA, {"device_id": "0", "use_tf32": "1"}) in calls


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
