"""Checks of ``dcc doctor``: the libraries that run or compile a network."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Collection
from typing import Any

from dccnet.runtime.doctor.check import CheckResult, captured_stderr, first_line, import_runtime
from dccnet.runtime.doctor.installed import (
    gpu_install_command,
    import_shared,
    oldest_versions,
    owners,
    reinstall_command,
    try_import,
    version_numbers,
    version_text,
)
from dccnet.runtime.extras import install, requirement
from dccnet.runtime.telemetry import without_telemetry

PROVIDERS = {
    "CPU provider": "CPUExecutionProvider",
    "CUDA provider": "CUDAExecutionProvider",
    "DirectML provider": "DmlExecutionProvider",
    "CoreML provider": "CoreMLExecutionProvider",
    "XNNPACK provider": "XnnpackExecutionProvider",
}
CPU, CUDA, *_ = PROVIDERS

# y = x + x on float32[1], IR version 7, opset 13. Made with onnx.helper, which is not installed everywhere;
# a test makes it again.
TINY_MODEL = (
    b'\x08\x07:5\n\x0e\n\x01x\n\x01x\x12\x01y"\x03Add\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n'
    b"\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def check_onnx_runtime(gpu: bool, name: str) -> CheckResult:
    """Check that ONNX Runtime is installed once, in the wheel for this machine."""
    keep = "onnxruntime-gpu" if gpu else "onnxruntime"
    ort, fault = import_shared(name, "onnxruntime", "InferenceSession", keep)
    if fault is not None:
        return fault
    oldest = oldest_versions("cpu").get("onnxruntime", ())
    if version_numbers(ort.__version__) < oldest:
        value = f"{ort.__version__} is too old: dcc needs {version_text(oldest)}"
        return CheckResult(name, "problem", value, f"pip install '{keep}>={version_text(oldest)}'")
    wheel = " ".join(owners("onnxruntime")) or "not installed by pip"
    return CheckResult(name, "ok", f"{ort.__version__} ({wheel})")


def check_provider(gpu: bool, name: str) -> CheckResult:
    """Check that a session runs on the provider: ONNX Runtime also lists some that do not work."""
    try:
        ort = importlib.import_module("onnxruntime")
        available = ort.get_available_providers()
    except Exception:
        return CheckResult(name, "absent", "needs ONNX Runtime")
    if PROVIDERS[name] not in available:
        cure = gpu_install_command() if gpu and name == CUDA else None
        return CheckResult(name, "absent", "not in this wheel", cure)
    reason = provider_problem(ort, PROVIDERS[name])
    if reason is None:
        return CheckResult(name, "ok", "runs")
    if name == CPU:
        return CheckResult(name, "problem", reason, reinstall_command(owners("onnxruntime"), "onnxruntime"))
    value = f"listed, but does not run: {reason}"
    if gpu:
        return CheckResult(name, "problem", value, "pip install 'onnxruntime-gpu[cuda,cudnn]'")
    return CheckResult(name, "absent", value)


def provider_problem(ort: Any, wanted: str) -> str | None:
    """Why a graph with one node does not run on the provider; None where it does."""
    import numpy as np

    with captured_stderr() as printed:
        try:
            # ONNX Runtime's fallback would print on stdout.
            session = ort.InferenceSession(TINY_MODEL, providers=[wanted], enable_fallback=0)
            (doubled,) = session.run(None, {"x": np.ones(1, np.float32)})
            used = session.get_providers()[0]
            if used == wanted and doubled[0] == 2:
                return None
            reason = f"1 + 1 gave {doubled[0]}" if used == wanted else f"ONNX Runtime falls back to {used}"
        except Exception as error:
            reason = first_line(error)
        printed.seek(0)
        missing = re.search(r"with error: (.+)", printed.read().decode(errors="replace"))
    return missing[1].strip() if missing else reason


def check_openvino(name: str) -> CheckResult:
    """Check that OpenVINO finds a device; it is optional."""
    with without_telemetry():
        openvino, fault = try_import(name, "openvino", requirement("openvino"))
    if fault is not None:
        return fault
    version = str(openvino.get_version()).partition("-")[0]
    oldest = oldest_versions("openvino").get("openvino", ())
    if version_numbers(version) < oldest:
        value = f"{version} is too old: dcc needs {version_text(oldest)}"
        return CheckResult(name, "problem", value, install("openvino"))
    try:
        devices = openvino.Core().available_devices
    except Exception as error:
        return CheckResult(name, "problem", f"{version}: {first_line(error)}", install("openvino"))
    return CheckResult(name, "ok", f"{version} ({', '.join(devices)})")


def check_tuning(name: str) -> CheckResult:
    """What ``dcc tune`` chose for the built-in model; other bundles' choices are shown by ``dcc info``."""
    names, kept = import_runtime("models.names"), import_runtime("tuning.kept")
    choice, stale = kept.find(names.open_bundle())
    if choice is not None:
        return CheckResult(name, "ok", f"{names.DEFAULT}: {choice.summary}")
    value = f"{names.DEFAULT} was not measured here" if stale is None else f"{names.DEFAULT}: {stale}"
    return CheckResult(name, "absent", value, "dcc tune")


def check_engine_library(module: str, extra: str, gpu: bool, name: str) -> CheckResult:
    """Check that the library can build engines. TensorRT needs a GPU for it, TensorRT-RTX does not."""
    trt, fault = try_import(name, module, requirement(extra))
    if fault is not None:
        return fault
    version = str(trt.__version__)
    oldest = oldest_versions(extra).get(module.replace("_", "-"), ())
    if version_numbers(version) < oldest:
        value = f"{version} is too old: dcc needs {version_text(oldest)}"
        return CheckResult(name, "problem", value, install(extra))
    errors: list[str] = []
    try:
        trt.Builder(_logger(trt, errors))
    except Exception as error:
        if module == "tensorrt" and not gpu:
            return CheckResult(name, "absent", f"{version}, but there is no GPU for it")
        reason = errors[0] if errors else first_line(error)  # the exception says only "nullptr"
        cure = f"pip install --force-reinstall {requirement(extra)}"
        return CheckResult(name, "problem", f"{version} cannot build: {reason}", cure)
    return CheckResult(name, "ok", version)


def check_rtx(gpus: Collection[Any], name: str) -> CheckResult:
    """Check TensorRT-RTX, and say which GPUs of this machine do not run its engines."""
    result = check_engine_library("tensorrt_rtx", "rtx", bool(gpus), name)
    without = ["{} (sm{}{})".format(gpu.name, *gpu.capability) for gpu in gpus if not runs_rtx(gpu)]
    if result.status != "ok" or not without:
        return result
    value = f"{result.value}, builds for other GPUs; not run by {', '.join(without)}: use TensorRT there"
    return dataclasses.replace(result, value=value)


def runs_rtx(gpu: Any) -> bool:
    """Whether a GPU runs engines of TensorRT-RTX: data-centre GPUs since Hopper do not, nor does Orin."""
    from dccnet.runtime.tensorrt.gpu_record import sm_name
    from dccnet.runtime.tensorrt.library import RTX_TARGETS

    return sm_name(gpu.capability) in RTX_TARGETS


def _logger(trt: Any, errors: list[str]) -> Any:
    """A logger that collects errors; the library's own logger prints everything."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 does not accept super()

        def log(self, level: Any, message: str) -> None:
            if level in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                errors.append(" ".join(message.split()))

    return Logger()
