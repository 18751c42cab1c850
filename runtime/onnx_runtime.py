"""Running a bundle's graphs with ONNX Runtime, on the CPU or through its GPU providers."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors, matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cores import threads_within_limit
from dccnet.runtime.device_tensor import DeviceTensor
from dccnet.runtime.errors import DccError, EngineError
from dccnet.runtime.extras import install
from dccnet.runtime.files import native_path
from dccnet.runtime.two_graphs import TwoGraphsBackend, load_both

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
ON_HOST = frozenset(PROVIDERS) - {"cuda"}
"""Providers that take and return arrays in host memory, whatever they compute on."""
_WHEELS = {
    "cpu": "install the extra cpu",
    "cuda": "install the extra gpu in place of cpu",
    "directml": "install onnxruntime-directml in place of onnxruntime, on Windows",
    "coreml": "install onnxruntime on a Mac",
    "xnnpack": "build ONNX Runtime with --use_xnnpack",
}
"""Where each provider comes from."""
Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Outputs by name for inputs by name."""
Place = tuple[str, int]
"""ONNX Runtime's name of a kind of device, and the number of the device."""
HOST: Place = ("cpu", 0)
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_LOADING = threading.Lock()
OLDEST = (1, 20)
"""Version of ONNX Runtime as ``pyproject.toml`` says; earlier ones corrupt memory in half precision."""


_Backend = TypeVar("_Backend", bound="OnnxRuntimeBackend")


class OnnxRuntimeGraph:
    """An ONNX file in ONNX Runtime, on the requested provider and no other.

    ``run`` may be called from several threads at once.
    """

    def __init__(
        self, path: Path, provider: str = "cpu", device: int = 0, threads: int = 0, *, tf32: bool = False
    ) -> None:
        """``threads`` is the number of CPU threads; 0: one for each core. ``tf32`` allows the CUDA provider
        float32 products with ten bits of mantissa.

        Raises :class:`EngineError` where ONNX Runtime is not installed, rejects the graph, or would
        fall back to another provider.
        """
        ort = _onnxruntime()
        wanted = PROVIDERS[provider]
        if wanted not in ort.get_available_providers():
            raise EngineError(f"this onnxruntime has no {wanted}: {_WHEELS[provider]}, or use --device cpu")
        if provider == "cuda":
            _load_cuda_libraries(ort)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads = threads or threads_within_limit()
        # Idle threads of one graph would spin and slow down the other: measured 1.5 times as slow.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: the warnings concern its own optimiser
        if provider == "directml":
            options.enable_mem_pattern = False  # which it cannot use
        details = _details(provider, device, threads, tf32)
        try:
            self._session = ort.InferenceSession(native_path(path), options, providers=[(wanted, details)])
        except DccError:
            raise
        except Exception as error:  # its exceptions share no base class
            raise EngineError(f"ONNX Runtime cannot load {path}: {_first_line(error)}") from error
        used = self._session.get_providers()[0]
        if used != wanted:  # ONNX Runtime falls back without an error
            raise EngineError(
                f"{wanted} was requested and ONNX Runtime fell back to {used}: a driver or library is "
                "missing; see dcc doctor, pip install 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu"
            )
        self.output_names: Sequence[str] = [output.name for output in self._session.get_outputs()]
        tensors = (*self._session.get_inputs(), *self._session.get_outputs())
        self.shapes: dict[str, list[Any]] = {tensor.name: tensor.shape for tensor in tensors}
        """Of inputs and outputs, by name; a text is a dynamic dimension."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises :class:`EngineError` where ONNX Runtime fails."""
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self.output_names, values, strict=True)}

    def run_on_device(
        self, inputs: Mapping[str, Array | DeviceTensor], place: Place, kept: Container[str]
    ) -> dict[str, Array | DeviceTensor]:
        """Outputs by name; those whose name is in ``kept`` stay in the memory of the device ``place``.

        Raises :class:`EngineError` where ONNX Runtime fails.
        """
        kind, index = place
        try:
            binding = self._session.io_binding()
            for name, value in inputs.items():
                if isinstance(value, DeviceTensor):
                    binding.bind_input(name, kind, index, value.dtype.type, value.shape, value.pointer)
                else:
                    binding.bind_cpu_input(name, value)
            for name in self.output_names:
                binding.bind_output(name, *(place if name in kept else HOST))
            self._session.run_with_iobinding(binding)  # returns when the device is done
            values = dict(zip(self.output_names, binding.get_outputs(), strict=True))
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return {
            name: _on_device(value, index, binding) if name in kept else value.numpy()
            for name, value in values.items()
        }


def _on_device(value: Any, index: int, binding: Any) -> DeviceTensor:
    """``binding`` keeps the session alive, whose memory the value is in."""
    dtype = np.dtype(_DTYPES[value.data_type()])
    return DeviceTensor(value.data_ptr(), tuple(value.shape()), dtype, index, (value, binding))


class OnnxRuntimeBackend(TwoGraphsBackend[OnnxRuntimeGraph]):
    """Both graphs in ONNX Runtime, which also take batches."""

    def __init__(
        self, encoder: OnnxRuntimeGraph, matcher: OnnxRuntimeGraph, description: str, place: Place = HOST
    ) -> None:
        super().__init__(encoder, matcher, description)
        self._place = place

    @classmethod
    def open(
        cls: type[_Backend], bundle: Bundle, provider: str, device: int, threads: int, *, tf32: bool = False
    ) -> _Backend:
        """Load both graphs. Raises :class:`EngineError`, and :class:`BundleError` for another grid."""
        encoder, matcher = load_both(
            bundle,
            lambda name: OnnxRuntimeGraph(bundle.graph_path(name), provider, device, threads, tf32=tf32),
        )
        place = HOST if provider in ON_HOST else (provider, device)
        return cls(encoder, matcher, onnxruntime_title(provider, device), place)

    @property
    def runs(self) -> tuple[Run, Run]:
        """Encoder and matcher: outputs by name for inputs by name."""
        return self._encoder.run, self._matcher.run

    def encode_many(self, frames: Sequence[Array]) -> list[Tensors]:
        features = self._encoder.run({"frame": np.stack(frames)})
        return [{name: value[i : i + 1] for name, value in features.items()} for i in range(len(frames))]

    def match_many(self, pairs: Sequence[tuple[Tensors, Tensors]]) -> list[dict[str, Array]]:
        a, b = (_stack([pair[side] for pair in pairs]) for side in (0, 1))
        outputs = self._matcher.run(matcher_inputs(a, b))
        return [{name: value[i] for name, value in outputs.items()} for i in range(len(pairs))]


def onnxruntime_title(provider: str, device: int = 0) -> str:
    """``ONNX Runtime 1.32.0 (CPU)``."""
    place = {"cpu": "CPU", "cuda": f"{PROVIDERS['cuda']}, cuda:{device}"}.get(provider, PROVIDERS[provider])
    return f"ONNX Runtime {_onnxruntime().__version__} ({place})"


def _details(provider: str, device: int, threads: int, tf32: bool) -> dict[str, str]:
    """Options of a provider."""
    if provider == "cuda":
        return {"device_id": str(device), "use_tf32": str(int(tf32))}  # which is 1 by default
    if provider == "directml":
        return {"device_id": str(device)}
    if provider == "coreml":
        return {"ModelFormat": "MLProgram"}  # the other one computes in float16
    if provider == "xnnpack":  # it has threads of its own
        return {"intra_op_num_threads": str(threads)} if threads else {}
    return {}


def _stack(features: Sequence[Tensors]) -> dict[str, Array]:
    """Features of one picture each -> features of all of them, ``(B, C, h, w)`` for each branch."""
    return {name: np.concatenate([tensors[name] for tensors in features]) for name in features[0]}


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"no inference engine is installed: {install('cpu')}, or {install('gpu')} on a machine with an "
            "NVIDIA GPU"
        ) from error
    major, minor = onnxruntime.__version__.split(".")[:2]
    if (int(major), int(minor)) < OLDEST:
        raise EngineError(
            f"onnxruntime {onnxruntime.__version__} is too old: pip install --upgrade "
            f"'onnxruntime>={OLDEST[0]}.{OLDEST[1]}'"
        )
    return onnxruntime


def _load_cuda_libraries(ort: Any) -> None:
    """Load CUDA and cuDNN from their wheels, where the system has none."""
    preload = getattr(ort, "preload_dlls", None)  # since 1.21
    if preload is not None:
        with _LOADING, contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            preload()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
