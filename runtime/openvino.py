"""Running a bundle's graphs with OpenVINO, on Intel's and AMD's CPUs, and on Intel's GPUs and NPUs."""

from __future__ import annotations

import queue
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cores import threads_within_limit
from dccnet.runtime.errors import EngineError, UsageError
from dccnet.runtime.extras import install
from dccnet.runtime.files import native_path
from dccnet.runtime.telemetry import without_telemetry
from dccnet.runtime.two_graphs import TwoGraphsBackend, load_both

FLOAT32, BFLOAT16 = "f32", "bf16"
"""OpenVINO's names of the precisions that layers may compute in. Without one of them, it chooses half
precision itself, on a GPU and on CPUs with instructions for bfloat16."""
_NAMES = {FLOAT32: "float32", BFLOAT16: "bfloat16"}
_MOST_LATENCY = "LATENCY"  # all cores work on one picture


class OpenVinoGraph:
    """An ONNX file in OpenVINO. ``run`` may be called from several threads at once."""

    def __init__(self, path: Path, device: str, threads: int, precision: str) -> None:
        """``device`` is OpenVINO's name, such as ``CPU`` or ``GPU.1``; ``threads`` are those of the CPU, 0
        for one per core. Raises :class:`EngineError` where OpenVINO rejects the graph, or would compute
        in another precision."""
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": _MOST_LATENCY,
            "INFERENCE_PRECISION_HINT": precision,
        }
        threads = threads or threads_within_limit()
        if threads and device == "CPU":
            settings["INFERENCE_NUM_THREADS"] = threads
        core = _openvino().Core()
        try:
            model = core.read_model(native_path(path))
            # One picture at a time: a batch of unknown size is slower.
            model.reshape({port.any_name: [1, *_sizes(port)[1:]] for port in model.inputs})
            self._compiled = core.compile_model(model, device, settings)
            used = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        except Exception as error:  # RuntimeError, mostly
            raise EngineError(f"OpenVINO cannot load {path} on {device}: {_reason(error)}") from error
        if used != precision:
            raise EngineError(
                f"OpenVINO computes {path} on {device} in {used}, not in {_NAMES[precision]}: use "
                "--backend onnxruntime"
            )
        self._names = [port.any_name for port in self._compiled.outputs]
        ports = (*self._compiled.inputs, *self._compiled.outputs)
        self.shapes: dict[str, Sequence[Any]] = {port.any_name: _sizes(port) for port in ports}
        """Of inputs and outputs, by name; a text is a dynamic dimension."""
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()  # requests that no thread uses

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises :class:`EngineError` where OpenVINO fails."""
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer(dict(inputs))
            return {name: np.array(request.get_tensor(name).data) for name in self._names}
        except Exception as error:
            raise EngineError(f"OpenVINO failed: {_reason(error)}") from error
        finally:
            self._idle.put(request)


class OpenVinoBackend(TwoGraphsBackend[OpenVinoGraph]):
    """Both graphs in OpenVINO."""

    @classmethod
    def open(cls, bundle: Bundle, device: str, threads: int, *, bf16: bool = False) -> OpenVinoBackend:
        """Load both graphs on a device: ``auto``, ``cpu``, or OpenVINO's name, such as ``gpu`` or ``npu``.

        Layers compute in float32, with ``bf16`` in bfloat16. What is not a CPU is compared with ONNX
        Runtime on the CPU first. Raises :class:`EngineError`, :class:`UsageError` for another device,
        :class:`NotVerifiedError` where results differ, and :class:`BundleError` for another grid.
        """
        name = _device(device)
        precision = BFLOAT16 if bf16 else FLOAT32
        encoder, matcher = load_both(
            bundle, lambda graph: OpenVinoGraph(bundle.graph_path(graph), name, threads, precision)
        )
        backend = cls(encoder, matcher, openvino_title(name, bf16))
        if name != "CPU":
            from dccnet.runtime.tensorrt.comparison import require_agreement

            require_agreement(bundle, (encoder.run, matcher.run), name, f"OpenVINO's {name}", bf16)
        return backend


def openvino_title(device: str, bf16: bool) -> str:
    """``OpenVINO 2026.4.1 (CPU, float32)``."""
    version = _openvino().get_version().partition("-")[0]
    return f"OpenVINO {version} ({device}, {_NAMES[BFLOAT16 if bf16 else FLOAT32]})"


def _device(device: str) -> str:
    if device in ("auto", "cpu"):
        return "CPU"
    name = device.upper()
    if not re.fullmatch(r"(GPU|NPU)(\.\d+)?", name):
        raise UsageError(f"OpenVINO has no device '{device}': choose cpu, gpu, gpu.1 or npu")
    found = _openvino().Core().available_devices
    if name not in found:
        raise EngineError(f"OpenVINO finds no {name} here, only {', '.join(found)}: use --device cpu")
    return name


def _sizes(port: Any) -> list[Any]:
    shape = port.get_partial_shape()
    return [size.get_length() if size.is_static else str(size) for size in shape]


def _openvino() -> Any:
    try:
        with without_telemetry():
            import openvino
    except ImportError as error:
        raise EngineError(f"--backend openvino needs OpenVINO: {install('openvino')}") from error
    return openvino


def _reason(error: Exception) -> str:
    """The last line of OpenVINO's message: the first ones name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
