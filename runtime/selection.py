"""Which backend runs a bundle: the one asked for, or the fastest that is really there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from dccnet.runtime.backend import Backend
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import cuda_problem
from dccnet.runtime.errors import DccError, EngineError, UsageError
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend
from dccnet.runtime.tensorrt.backend import TensorRTBackend

BACKENDS = ("auto", "onnxruntime", "tensorrt")
DEVICES = "auto, cpu, cuda or cuda:N"


class Choice(NamedTuple):
    """What to run a bundle with; the defaults leave it to the machine."""

    backend: str = "auto"
    device: str = "auto"
    provider: str | None = None
    """Of ONNX Runtime: ``cpu``, ``cuda`` or ``tensorrt``; None goes with the device."""
    threads: int = 0
    """Of ONNX Runtime on the CPU; 0: one for each core."""
    trust_engine: bool = False
    """Load engines that have no sidecar."""


def open_backend(
    bundle: Bundle, choice: Choice, on_note: Callable[[str], None] = lambda text: None
) -> Backend:
    """The backend asked for, or else the fastest that is really there.

    ``auto`` prefers TensorRT's engines to ONNX Runtime's CUDA provider to its CPU provider; ``on_note``
    hears why it passed over one on a machine with a GPU, and of engines being built. Raises
    :class:`UsageError` for a choice that contradicts itself, :class:`EngineError` for one that is not
    there.
    """
    gpu = gpu_index(choice.device)
    if choice.backend not in BACKENDS:
        raise UsageError(f"there is no backend '{choice.backend}': choose from {', '.join(BACKENDS)}")
    if choice.backend == "tensorrt":
        if choice.device == "cpu" or choice.provider is not None:
            raise UsageError(
                "--backend tensorrt runs engines on a GPU: leave --device cpu and --provider away"
            )
        return TensorRTBackend.open(bundle, gpu or 0, trust=choice.trust_engine, on_note=on_note)
    if choice.backend == "onnxruntime" or choice.provider is not None or choice.device == "cpu":
        return OnnxRuntimeBackend.open(bundle, _provider(choice), gpu or 0, choice.threads)
    problem = cuda_problem()
    if problem is not None:
        if choice.device != "auto":
            raise EngineError(f"--device {choice.device} cannot be used: {problem}; dcc doctor says more")
        return OnnxRuntimeBackend.open(bundle, "cpu", 0, choice.threads)
    attempts: list[Callable[[], Backend]] = [
        lambda: TensorRTBackend.open(bundle, gpu or 0, trust=choice.trust_engine, on_note=on_note),
        lambda: OnnxRuntimeBackend.open(bundle, "cuda", gpu or 0, choice.threads),
    ]
    reasons = []
    for attempt in attempts:
        try:
            return attempt()
        except DccError as error:
            on_note(f"passed over: {error}")
            reasons.append(str(error))
    if choice.device != "auto":
        raise EngineError(f"nothing runs on {choice.device}: {'; '.join(reasons)}")
    return OnnxRuntimeBackend.open(bundle, "cpu", 0, choice.threads)


def gpu_index(device: str) -> int | None:
    """``cuda:1`` -> 1, ``cuda`` -> 0; None for ``cpu`` and ``auto``. Raises :class:`UsageError`."""
    if device in ("auto", "cpu"):
        return None
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise UsageError(f"there is no device '{device}': it is {DEVICES}")
    return int(match[1] or 0)


def _provider(choice: Choice) -> str:
    if choice.provider is None:
        return "cpu" if gpu_index(choice.device) is None else "cuda"
    if choice.provider == "cpu" and gpu_index(choice.device) is not None:
        raise UsageError(f"--provider cpu does not run on {choice.device}: name one of the two")
    if choice.provider != "cpu" and choice.device == "cpu":
        raise UsageError(f"--provider {choice.provider} does not run on the CPU: leave --device cpu away")
    return choice.provider
