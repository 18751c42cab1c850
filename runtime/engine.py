"""Running a bundle's graphs with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import EngineError

Array = NDArray[Any]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class GraphRunner(Protocol):
    """A loaded graph. ``run`` may be called from several threads at once."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


class OnnxRuntimeGraph:
    """An ONNX file in ONNX Runtime, on the provider that was asked for and no other."""

    def __init__(self, path: Path, provider: str = "cpu", threads: int = 0) -> None:
        """``threads`` 0 leaves the choice to ONNX Runtime: one for each core.

        Raises :class:`EngineError` where ONNX Runtime is not installed, rejects the graph, or would
        fall back to another provider.
        """
        ort = _onnxruntime()
        wanted = PROVIDERS[provider]
        if wanted not in ort.get_available_providers():
            raise EngineError(
                f"this onnxruntime has no {wanted}: install dccnet[gpu] in place of dccnet[cpu], or use "
                "--provider cpu"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Idle threads of one graph would spin against those of the other: measured 1.5 times as slow.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: its warnings are about its own optimiser
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[wanted])
        except Exception as error:  # its exceptions share no base class
            raise EngineError(f"ONNX Runtime cannot load {path}: {_first_line(error)}") from error
        used = self._session.get_providers()[0]
        if used != wanted:  # ONNX Runtime falls back without an error
            raise EngineError(
                f"{wanted} was asked for and ONNX Runtime fell back to {used}: its driver or libraries "
                "are missing; install them, or use --provider cpu"
            )
        self._outputs: Sequence[str] = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Raises :class:`EngineError` where ONNX Runtime does."""
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}


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
