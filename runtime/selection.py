"""Choosing the backend that runs a bundle: the requested one, or the fastest that works here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from dccnet.runtime.backend import Backend
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import cuda_problem
from dccnet.runtime.errors import DccError, EngineError, UsageError
from dccnet.runtime.onnx_gpu import OnnxRuntimeGpuBackend
from dccnet.runtime.onnx_runtime import PROVIDERS, OnnxRuntimeBackend
from dccnet.runtime.openvino import OpenVinoBackend
from dccnet.runtime.tensorrt.backend import TensorRTBackend
from dccnet.runtime.tensorrt.comparison import require_agreement
from dccnet.runtime.tuning.choice import ON_CPU
from dccnet.runtime.tuning.opening import open_tuned

BACKENDS = ("auto", "onnxruntime", "openvino", "tensorrt")
DEVICES = "auto, cpu, cuda or cuda:N; with --backend openvino, gpu or npu"


class BackendChoice(NamedTuple):
    """The requested backend and device; with the defaults, the machine decides."""

    backend: str = "auto"
    device: str = "auto"
    provider: str | None = None
    """Provider of ONNX Runtime, a key of ``PROVIDERS``; None: the one for the device."""
    threads: int = 0
    """Threads of ONNX Runtime on the CPU; 0: one for each core."""
    trust_engine: bool = False
    """Load engines in the bundle that its manifest does not name."""
    tf32: bool = False
    """Let a GPU multiply float32 with ten bits of mantissa: ONNX Runtime's CUDA provider, and PyTorch."""
    bf16: bool = False
    """Let OpenVINO compute in bfloat16."""


def open_backend(
    bundle: Bundle, choice: BackendChoice, on_note: Callable[[str], None] = lambda text: None
) -> Backend:
    """Open the bundle with the requested backend, or with the fastest that works on this machine.

    ``auto`` takes what ``dcc tune`` chose for the bundle on this machine. Else it tries TensorRT's engines,
    then ONNX Runtime's CUDA provider, then its CPU provider. What is to run on the GPU is compared with the
    CPU once, before its first use there. INT8 graphs that are laid out for CPUs run on the CPU. On a
    machine with a GPU, ``on_note`` is called with the reason when one of them is passed over, and when
    engines are built.

    Raises :class:`UsageError` for a choice that contradicts itself, :class:`EngineError` for a backend or
    device that is not available, :class:`NotVerifiedError` for engines that disagree with their graphs.
    """
    if choice.backend not in BACKENDS:
        raise UsageError(f"there is no backend '{choice.backend}': choose from {', '.join(BACKENDS)}")
    if choice.bf16 and choice.backend != "openvino":
        raise UsageError("--bf16 goes with --backend openvino")
    if choice.backend in ("openvino", "tensorrt"):
        return _open_named(bundle, choice, on_note)
    gpu = gpu_index(choice.device)
    if choice.backend == "onnxruntime" or choice.provider is not None:
        return _open_onnx_runtime(bundle, _provider(choice), gpu or 0, choice)
    tuned = None if gpu is not None else open_tuned(bundle, choice.threads, choice.device, on_note)
    return tuned or _open_fastest(bundle, gpu, choice, on_note)


def _open_fastest(
    bundle: Bundle, gpu: int | None, choice: BackendChoice, on_note: Callable[[str], None]
) -> Backend:
    """What is fastest in general; nothing was measured for this bundle."""
    if choice.device == "cpu" or (choice.device == "auto" and _is_for_cpus(bundle)):
        return _open_onnx_runtime(bundle, "cpu", 0, choice)
    problem = cuda_problem()
    if problem is not None:
        if choice.device != "auto":
            raise EngineError(f"--device {choice.device} cannot be used: {problem}; dcc doctor says more")
        return _open_onnx_runtime(bundle, "cpu", 0, choice)
    attempts: list[Callable[[], Backend]] = [
        lambda: TensorRTBackend.open(bundle, gpu or 0, trust=choice.trust_engine, on_note=on_note),
        lambda: _open_compared(bundle, gpu or 0, choice),
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
    return _open_onnx_runtime(bundle, "cpu", 0, choice)


def _open_compared(bundle: Bundle, gpu: int, choice: BackendChoice) -> Backend:
    """ONNX Runtime's CUDA provider, which nobody asked for: it is compared with the one for CPUs once."""
    backend = OnnxRuntimeGpuBackend.open(bundle, "cuda", gpu, choice.threads, tf32=choice.tf32)
    backend.require_agreement(bundle, choice.tf32)
    return backend


def _open_named(bundle: Bundle, choice: BackendChoice, on_note: Callable[[str], None]) -> Backend:
    """One that is not ONNX Runtime."""
    if choice.backend == "openvino":
        if choice.provider is not None:
            raise UsageError("--provider is an option of ONNX Runtime: remove it, or --backend openvino")
        return OpenVinoBackend.open(bundle, choice.device, choice.threads, bf16=choice.bf16)
    gpu = gpu_index(choice.device)
    if choice.device == "cpu" or choice.provider is not None:
        raise UsageError("--backend tensorrt runs engines on a GPU: remove --device cpu and --provider")
    return TensorRTBackend.open(bundle, gpu or 0, trust=choice.trust_engine, on_note=on_note)


def _open_onnx_runtime(bundle: Bundle, provider: str, gpu: int, choice: BackendChoice) -> Backend:
    if provider == "cuda":
        return OnnxRuntimeGpuBackend.open(bundle, provider, gpu, choice.threads, tf32=choice.tf32)
    backend = OnnxRuntimeBackend.open(bundle, provider, gpu, choice.threads)
    if provider != "cpu":
        require_agreement(bundle, backend.runs, provider, f"ONNX Runtime's {PROVIDERS[provider]}", False)
    return backend


def _is_for_cpus(bundle: Bundle) -> bool:
    calibration = bundle.manifest.calibration
    return calibration is not None and calibration.target == "cpu"


def gpu_index(device: str) -> int | None:
    """Index of a GPU: 1 for ``cuda:1``, 0 for ``cuda``, None for ``cpu`` and ``auto``.

    Raises :class:`UsageError`.
    """
    if device in ("auto", "cpu"):
        return None
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise UsageError(f"there is no device '{device}': choose from {DEVICES}")
    return int(match[1] or 0)


def _provider(choice: BackendChoice) -> str:
    if choice.provider is None:
        return "cpu" if gpu_index(choice.device) is None else "cuda"
    if choice.provider == "tensorrt":
        raise UsageError(
            "ONNX Runtime's TensorRT provider is not used any more: --backend tensorrt runs engines"
        )
    if choice.provider not in PROVIDERS:
        raise UsageError(f"there is no provider '{choice.provider}': choose from {', '.join(PROVIDERS)}")
    if choice.provider != "cuda" and gpu_index(choice.device) is not None:
        raise UsageError(
            f"--provider {choice.provider} does not run on {choice.device}: remove one of the two"
        )
    if choice.provider not in ON_CPU and choice.device == "cpu":
        raise UsageError(f"--provider {choice.provider} does not run on the CPU: remove --device cpu")
    return choice.provider
