"""`dcc info`, which describes a file, and `dcc doctor`, which says what a machine can do."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dccnet.export.info import describe
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.doctor import inference, installed, machine
from dccnet.runtime.doctor.check import CheckResult, run_check
from dccnet.runtime.doctor.report import CPU, CUDA, EXPORT, RTX, TENSORRT, abilities, examine
from dccnet.runtime.errors import DccError
from dccnet.runtime.extras import install
from tests.helpers.commands import Cli
from tests.helpers.emulation import emulated
from tests.helpers.fake_cuda import CODES, Properties

# dcc info ---------------------------------------------------------------------------------------


def test_bundle_is_described_by_the_content_of_its_files(bundle: Bundle, dcc: Cli) -> None:
    result = dcc("info", bundle.path)
    assert result.returncode == 0, result.stderr
    for text in ("resnet18", "96x80 (height x width)", "float32", "stack", "encoder.onnx", "made with"):
        assert text in result.stdout
    found = json.loads(dcc("info", bundle.path, "--json").stdout)
    assert found["kind"] == "bundle" and found["facts"]["verified"] == "yes"
    layers = {(row["graph"], row["layers"]): row["count"] for row in found["tables"]["layers"]}
    assert layers["matcher", "softmax"] >= 2 and layers["encoder", "convolution"] > 10


def test_graph_and_checkpoint_are_described(bundle: Bundle, checkpoint: Path) -> None:
    graph = describe(bundle.graph_path("encoder"))
    assert graph.kind == "ONNX graph" and graph.facts["precision"] == "float32"
    names = [row["name"] for row in graph.tables["inputs and outputs"]]
    assert names == ["frame", "local", "context"]
    network = describe(checkpoint)
    assert network.kind == "checkpoint" and network.facts["config.backbone"] == "resnet18"
    assert network.facts["tensors"] > 50


def test_checkpoint_is_described_without_torch_or_safetensors(checkpoint: Path, monkeypatch: Any) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] in ("torch", "safetensors"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    assert describe(checkpoint).kind == "checkpoint"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none", None, "does not exist"),
        ("x.txt", b"text", "does not know what .* it reads a bundle"),
        ("x.pth.tar", b"", "is a pickle, which dcc info does not open: dcc import"),
        ("x.onnx", b"no graph", "no ONNX graph that can be checked"),
        ("x.engine", b"vtrt", "no header that dcc knows"),
        ("x.safetensors", b"\x08", "is damaged"),
        ("x.safetensors", b"\x02" + bytes(7) + b"{}", "does not say that it is a checkpoint of dcc"),
        ("x.safetensors", b"\xff" * 16, "its header is too long"),
    ],
)
def test_files_of_no_known_kind(name: str, content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DccError, match=sentence):
        describe(tmp_path / name)


def test_damaged_bundle_is_reported_in_one_sentence(bundle: Bundle, tmp_path: Path, dcc: Cli) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    (tmp_path / "b" / "matcher.onnx").write_bytes(b"short")
    result = dcc("info", tmp_path / "b")
    assert result.returncode == 1 and len(result.stderr.strip().splitlines()) == 1
    assert "is not the file that was exported" in result.stderr


# dcc doctor -------------------------------------------------------------------------------------


def by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
    return {result.name: result for result in results}


def test_doctor_finds_no_fault_on_this_machine(dcc: Cli) -> None:
    result = dcc("doctor", "--json")
    report = json.loads(result.stdout)
    assert result.returncode == (1 if report["problems"] else 0)
    assert (
        report["schema"] == 1 and report["abilities"]["match on the CPU"] and report["abilities"]["export"]
    )
    found = {check["name"]: check for check in report["checks"]}
    assert found["ONNX Runtime"]["status"] == found["CPU provider"]["status"] == "ok"
    for problem in report["problems"]:
        assert problem["cure"]
    text = dcc("doctor").stdout
    assert "ONNX Runtime" in text and "This machine can match on the CPU" in text


def test_model_of_the_provider_check_is_documented_correctly(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", values[:1], values[1:])
    made = helper.make_model(graph, ir_version=7, opset_imports=[helper.make_opsetid("", 13)])
    assert onnx.load_from_string(inference.TINY_MODEL) == made


def test_provider_that_falls_back_to_another_does_not_work() -> None:
    class Session:
        def __init__(self, model: bytes, providers: list[str], enable_fallback: int) -> None:
            self._used = "CPUExecutionProvider"

        def run(self, names: None, feed: dict[str, Any]) -> list[Any]:
            return [2 * feed["x"]]

        def get_providers(self) -> list[str]:
            return [self._used]

    ort: Any = ModuleType("onnxruntime")
    ort.InferenceSession = Session
    assert (
        inference.provider_problem(ort, "CUDAExecutionProvider")
        == "ONNX Runtime falls back to CPUExecutionProvider"
    )
    assert inference.provider_problem(ort, "CPUExecutionProvider") is None
    Session.run = lambda self, names, feed: [np.zeros(1)]  # type: ignore[method-assign]
    assert "1 + 1 gave 0" in str(inference.provider_problem(ort, "CPUExecutionProvider"))


@pytest.mark.parametrize(
    ("found", "keep", "cure"),
    [
        (["onnxruntime"], "onnxruntime", "pip install --force-reinstall onnxruntime"),
        (
            ["onnxruntime", "onnxruntime-gpu"],
            "onnxruntime-gpu",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
        ),
    ],
)
def test_wheels_that_overwrite_each_other(
    found: list[str], keep: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "owners", lambda module: found)
    check = installed.import_shared("ONNX Runtime", "onnxruntime", "InferenceSession", keep)[1]
    if len(found) == 1:
        assert check is None and installed.reinstall_command(found, keep) == cure
    else:
        assert check is not None and check.status == "problem"
        assert "overwrite each other" in check.value and check.cure == cure


def test_module_folder_that_lost_its_content_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "owners", lambda module: ["onnxruntime"])
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    check = installed.import_shared("ONNX Runtime", "onnxruntime", "InferenceSession", "onnxruntime")[1]
    assert check is not None and "has no InferenceSession: parts of it are missing" in check.value


def test_exception_in_a_check_is_its_result() -> None:
    def broken(name: str) -> CheckResult:
        raise RuntimeError("from a library")

    result = run_check("x", broken)
    assert result.value == "RuntimeError: from a library" and result.status == "problem"


def test_checks_import_neither_opencv_nor_numpy() -> None:
    code = (
        "import sys, dccnet.runtime.doctor.commands, dccnet.runtime.doctor.report\n"
        "assert not {'cv2', 'numpy', 'onnxruntime', 'torch'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_doctor_works_where_opencv_cannot_be_imported(dcc: Cli, tmp_path: Path) -> None:
    reason = "libGL.so.1: cannot open shared object file"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({reason!r})")
    result = dcc("doctor", "--json", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1 and not result.stderr, result.stderr
    report = json.loads(result.stdout)
    problems = {check["name"]: check for check in report["problems"]}
    assert reason in problems["OpenCV"]["value"] and "opencv-python-headless" in problems["OpenCV"]["cure"]
    assert "cannot be loaded" in problems["dcc"]["value"] and reason in problems["dcc"]["value"]
    found = {check["name"]: check for check in report["checks"]}
    assert found["ONNX Runtime"]["status"] == "ok"  # what does not need OpenCV is still checked
    assert found["NVIDIA GPU"]["value"] == "not checked, since dcc cannot be loaded"
    assert not any(report["abilities"].values())
    text = dcc("doctor", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert text.returncode == 1 and "pip install" in text.stdout and "it cannot" not in text.stdout


def test_machine_with_a_gpu(tmp_path: Path) -> None:
    with emulated(tmp_path):
        report = examine()
    checks = by_name([check for checks in report.sections.values() for check in checks])
    assert "Emulated GPU (sm86, 8.0 GiB)" in checks["NVIDIA GPU"].value
    assert checks["TensorRT"].status == "ok" and checks["TensorRT"].value == "11.4.0.106"
    assert report.abilities["match on a GPU"] and report.abilities["build TensorRT engines"]


def test_gpu_with_an_old_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "NVIDIA_DEVICE", tmp_path
    )  # any existing path stands for the driver's device
    with emulated(tmp_path) as emulation:
        emulation.cuda.start = CODES.cudaErrorInsufficientDriver
        emulation.tensorrt.has_gpu = False
        report = examine()
    checks = by_name(report.problems)
    assert "update the NVIDIA driver" in str(checks["NVIDIA GPU"].cure)
    assert not report.abilities["match on a GPU"]


def test_tensorrt_without_a_gpu_is_not_a_problem(tmp_path: Path) -> None:
    with emulated(tmp_path) as emulation:
        emulation.cuda.start = CODES.cudaErrorNoDevice
        emulation.tensorrt.has_gpu = False
        checks = by_name(examine().sections["Inference"])
    assert checks["TensorRT"].status == "absent" and "there is no GPU for it" in checks["TensorRT"].value


def test_abilities_follow_from_successful_checks() -> None:
    assert abilities({CPU, EXPORT, RTX}, []) == {
        "match on the CPU": True,
        "match on a GPU": False,
        "build TensorRT engines": False,
        "build TensorRT-RTX engines": True,
        "train": False,
        "export": True,
    }

    class Gpu:
        capability = (9, 0)  # Hopper, which TensorRT-RTX does not support

    assert not abilities({RTX}, [Gpu()])["match on a GPU"]
    assert abilities({CUDA}, [Gpu()])["match on a GPU"] and abilities({TENSORRT}, [Gpu()])["match on a GPU"]


@pytest.mark.parametrize(("major", "minor"), [(8, 7), (9, 0), (10, 0), (10, 3)])
def test_a_gpu_without_a_target_of_tensorrt_rtx_is_named(major: int, minor: int, tmp_path: Path) -> None:
    with emulated(tmp_path, "tensorrt_rtx") as emulation:
        emulation.cuda.gpus = (Properties(name=b"Without", major=major, minor=minor),)
        report = examine()
        check = by_name(report.sections["Inference"])["TensorRT-RTX"]
        assert check.value.endswith(f"not run by Without (sm{major}{minor}): use TensorRT there")
        assert report.abilities["build TensorRT-RTX engines"] and not report.abilities["match on a GPU"]
        emulation.cuda.gpus = (Properties(),)
        assert "not run by" not in by_name(examine().sections["Inference"])["TensorRT-RTX"].value


def test_versions_are_compared_as_numbers() -> None:
    assert installed.version_numbers("2.9.1+cu130") == (2, 9, 1) < installed.version_numbers("2.10")


@pytest.mark.parametrize(("bound", "status"), [("99", "problem"), ("8", "ok")])
def test_a_required_package_that_is_too_old_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, bound: str, status: str
) -> None:
    requires = [f"click>={bound}", "rich>=13", 'torch>=99; extra == "train"']
    monkeypatch.setattr(installed.metadata, "requires", lambda name: requires)
    check = installed.check_required("Packages")
    assert check.status == status and "click" in check.value and "torch" not in check.value
    assert check.cure == (f"pip install 'click>={bound}'" if status == "problem" else None)


def test_incomplete_extra_names_the_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    requires = ["click>=8", 'torch>=99; extra == "train"', 'nothing-like-it>=1.2; extra == "train"']
    monkeypatch.setattr(installed.metadata, "requires", lambda name: requires)
    check = installed.check_extra("train", "dcc train")
    assert check.status == "absent" and check.cure == install("train")
    assert "torch 99 in place of" in check.value and "nothing-like-it" in check.value
