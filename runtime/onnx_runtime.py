"""Running a bundle's graphs with ONNX Runtime, on the CPU or through its GPU providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors
from dccnet.runtime.bundle import ENCODER, MATCHER, Bundle
from dccnet.runtime.errors import EngineError, ImageError

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class OnnxRuntimeGraph:
    """An ONNX file in ONNX Runtime, on the provider that was asked for and no other.

    ``run`` may be called from several threads at once.
    """

    def __init__(self, path: Path, provider: str = "cpu", device: int = 0, threads: int = 0) -> None:
        """``threads`` 0 leaves the choice to ONNX Runtime: one for each core.

        Raises :class:`EngineError` where ONNX Runtime is not installed, rejects the graph, or would
        fall back to another provider.
        """
        ort = _onnxruntime()
        wanted = PROVIDERS[provider]
        if wanted not in ort.get_available_providers():
            raise EngineError(
                f"this onnxruntime has no {wanted}: install dccnet[gpu] in place of dccnet[cpu], or use "
                "--device cpu"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Idle threads of one graph would spin against those of the other: measured 1.5 times as slow.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: its warnings are about its own optimiser
        details = {} if provider == "cpu" else {"device_id": str(device)}
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[(wanted, details)])
        except Exception as error:  # its exceptions share no base class
            raise EngineError(f"ONNX Runtime cannot load {path}: {_first_line(error)}") from error
        used = self._session.get_providers()[0]
        if used != wanted:  # ONNX Runtime falls back without an error
            raise EngineError(
                f"{wanted} was asked for and ONNX Runtime fell back to {used}: its driver or libraries "
                "are missing; see dcc doctor, or use --device cpu"
            )
        self._outputs: Sequence[str] = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Raises :class:`EngineError` where ONNX Runtime does."""
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}


class OnnxRuntimeBackend:
    """Both graphs in ONNX Runtime; features are NumPy arrays ``(1, C, h, w)``."""

    def __init__(self, encoder: OnnxRuntimeGraph, matcher: OnnxRuntimeGraph, description: str) -> None:
        self.description = description
        self._encoder, self._matcher = encoder, matcher

    @classmethod
    def open(cls, bundle: Bundle, provider: str, device: int, threads: int) -> OnnxRuntimeBackend:
        """Raises :class:`EngineError`."""
        paths = [bundle.graph_path(name) for name in (ENCODER, MATCHER)]
        with ThreadPoolExecutor() as pool:  # ONNX Runtime optimises a graph on one thread
            encoder, matcher = pool.map(
                lambda path: OnnxRuntimeGraph(path, provider, device, threads), paths
            )
        place = "CPU" if provider == "cpu" else f"{PROVIDERS[provider]}, cuda:{device}"
        return cls(encoder, matcher, f"ONNX Runtime {_onnxruntime().__version__} ({place})")

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        if not isinstance(frame, np.ndarray):
            raise ImageError("this backend takes frames from the host: copy it, or use --backend tensorrt")
        return self._encoder.run({"frame": frame[None]})

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        inputs = {f"{name}_a": tensor for name, tensor in a.items()}
        inputs |= {f"{name}_b": tensor for name, tensor in b.items()}
        return {name: value[0] for name, value in self._matcher.run(inputs).items()}

    def encode_many(self, frames: Sequence[Array]) -> list[Tensors]:
        features = self._encoder.run({"frame": np.stack(frames)})
        return [{name: value[i : i + 1] for name, value in features.items()} for i in range(len(frames))]

    def match_many(self, pairs: Sequence[tuple[Tensors, Tensors]]) -> list[dict[str, Array]]:
        inputs = {
            f"{name}_{side}": np.concatenate([pair[i][name] for pair in pairs])
            for i, side in enumerate("ab")
            for name in pairs[0][i]
        }
        outputs = self._matcher.run(inputs)
        return [{name: value[i] for name, value in outputs.items()} for i in range(len(pairs))]

    def close(self) -> None:
        """Nothing to do: sessions go when nobody holds them."""


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            "no inference engine is installed: pip install 'dccnet[cpu]', or 'dccnet[gpu]' on a machine "
            "with an NVIDIA GPU"
        ) from error
    return onnxruntime


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
