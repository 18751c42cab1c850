"""The checks of ``dcc doctor`` on what runs or compiles a network."""

from __future__ import annotations

import importlib
import re
from typing import Any

from dccnet.runtime.doctor.check import Check, captured_stderr, first_line
from dccnet.runtime.doctor.installed import (
    dccnet,
    dotted,
    install_for_gpu,
    load,
    numbers,
    oldest_versions,
    owners,
    reinstall,
    shared_module,
)

PROVIDERS = {
    "CPU provider": "CPUExecutionProvider",
    "CUDA provider": "CUDAExecutionProvider",
    "TensorRT provider": "TensorrtExecutionProvider",
}
CPU, CUDA, TENSORRT_PROVIDER = PROVIDERS

# y = x + x on float32[1], IR version 7, opset 13: made with onnx.helper, which a machine that only matches
# does not have. A test makes it again.
TINY_MODEL = (
    b'\x08\x07:5\n\x0e\n\x01x\n\x01x\x12\x01y"\x03Add\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n'
    b"\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def onnx_runtime(gpu: bool, name: str) -> Check:
    keep = "onnxruntime-gpu" if gpu else "onnxruntime"
    ort, fault = shared_module(name, "onnxruntime", "InferenceSession", keep)
    wheel = " ".join(owners("onnxruntime")) or "not by pip"
    return fault or Check(name, "ok", f"{ort.__version__} ({wheel})")


def provider(gpu: bool, name: str) -> Check:
    """Whether a session runs on it: ONNX Runtime lists providers from which it only falls back."""
    try:
        ort = importlib.import_module("onnxruntime")
        available = ort.get_available_providers()
    except Exception:
        return Check(name, "absent", "needs ONNX Runtime")
    if PROVIDERS[name] not in available:
        cure = install_for_gpu() if gpu and name == CUDA else None
        return Check(name, "absent", "not in this wheel", cure)
    reason = provider_problem(ort, PROVIDERS[name])
    if reason is None:
        return Check(name, "ok", "runs")
    if name == CPU:
        return Check(name, "problem", reason, reinstall(owners("onnxruntime"), "onnxruntime"))
    value = f"listed, but does not run: {reason}"
    if gpu and name == CUDA:
        return Check(name, "problem", value, "pip install 'onnxruntime-gpu[cuda,cudnn]'")
    return Check(name, "absent", value)  # ONNX Runtime wants an older TensorRT than dcc's own backend


def provider_problem(ort: Any, wanted: str) -> str | None:
    """Why a graph of one node does not run on the provider; None where it does."""
    import numpy as np

    with captured_stderr() as printed:
        try:
            # Its own fallback would print on stdout.
            session = ort.InferenceSession(TINY_MODEL, providers=[wanted], enable_fallback=0)
            (doubled,) = session.run(None, {"x": np.ones(1, np.float32)})
            used = session.get_providers()[0]
            if used == wanted and doubled[0] == 2:
                return None
            reason = f"1 + 1 gave {doubled[0]}" if used == wanted else f"{used} takes its place"
        except Exception as error:
            reason = first_line(error)
        printed.seek(0)
        missing = re.search(r"with error: (.+)", printed.read().decode(errors="replace"))
    return missing[1].strip() if missing else reason


def engine_library(module: str, extra: str, gpu: bool, name: str) -> Check:
    """Whether it builds engines, for which TensorRT needs a GPU and TensorRT-RTX none."""
    trt, fault = load(name, module, dccnet(extra))
    if fault is not None:
        return fault
    version = str(trt.__version__)
    oldest = oldest_versions(extra).get(module.replace("_", "-"), ())
    if numbers(version) < oldest:
        value = f"{version} is too old: dcc needs {dotted(oldest)}"
        return Check(name, "problem", value, f"pip install {dccnet(extra)}")
    errors: list[str] = []
    try:
        trt.Builder(_logger(trt, errors))
    except Exception as error:
        if module == "tensorrt" and not gpu:
            return Check(name, "absent", f"{version}, but there is no GPU for it")
        reason = errors[0] if errors else first_line(error)  # the error itself says only "nullptr"
        cure = f"pip install --force-reinstall {dccnet(extra)}"
        return Check(name, "problem", f"{version} cannot build: {reason}", cure)
    return Check(name, "ok", version)


def _logger(trt: Any, errors: list[str]) -> Any:
    """Keeps errors, where the library's own logger prints them, and lines that are none."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 objects to super()

        def log(self, level: Any, message: str) -> None:
            if level in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                errors.append(" ".join(message.split()))

    return Logger()
