"""The report of ``dcc doctor``: every check, and what the machine can do according to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from dccnet.runtime.doctor.check import CheckResult, run_check
from dccnet.runtime.doctor.inference import (
    CPU,
    CUDA,
    PROVIDERS,
    check_engine_library,
    check_onnx_runtime,
    check_openvino,
    check_provider,
    check_rtx,
    check_tuning,
    runs_rtx,
)
from dccnet.runtime.doctor.installed import check_extra, check_required
from dccnet.runtime.doctor.machine import (
    check_cores,
    check_cuda_python,
    check_dcc,
    check_engine_cache,
    check_memory,
    check_nvidia,
    check_opencv,
    check_pycuda,
    check_python,
    check_system,
    usable_gpus,
)
from dccnet.runtime.extras import install

TENSORRT, RTX = "TensorRT", "TensorRT-RTX"
TRAIN, EXPORT = "dcc train", "dcc export"


@dataclass(frozen=True, slots=True)
class Report:
    """Results by section, and what the machine can do."""

    sections: dict[str, list[CheckResult]]
    abilities: dict[str, bool]
    """Such as ``match on the CPU``: whether this machine can."""

    @property
    def problems(self) -> list[CheckResult]:
        return [
            result for results in self.sections.values() for result in results if result.status == "problem"
        ]


def examine() -> Report:
    """Run every check: takes a few seconds at most, and raises nothing."""
    gpus = usable_gpus()
    gpu = bool(gpus)
    checks: dict[str, dict[str, Callable[[str], CheckResult]]] = {
        "Machine": {
            "Python": check_python,
            "System": check_system,
            "CPU cores": check_cores,
            "Memory": check_memory,
        },
        "dcc": {
            "dcc": check_dcc,
            "OpenCV": check_opencv,
            "Packages": check_required,
            "Engine cache": partial(check_engine_cache, gpu),
        },
        "GPU": {"NVIDIA GPU": check_nvidia, "cuda-python": check_cuda_python, "pycuda": check_pycuda},
        "Inference": {
            "ONNX Runtime": partial(check_onnx_runtime, gpu),
            **dict.fromkeys(PROVIDERS, partial(check_provider, gpu)),
            "OpenVINO": check_openvino,
            TENSORRT: partial(check_engine_library, "tensorrt", "gpu", gpu),
            RTX: partial(check_rtx, gpus),
            "Tuning": check_tuning,
        },
        "Training and export": {
            TRAIN: partial(check_extra, "train"),
            EXPORT: partial(check_extra, "export"),
        },
    }
    sections = {
        title: [run_check(name, check) for name, check in section.items()]
        for title, section in checks.items()
    }
    inference = sections["Inference"]
    if all(result.status == "absent" for result in inference):
        problem = "no inference engine is installed"
        inference.insert(0, CheckResult("Engine", "problem", problem, install("cpu")))
    working = {result.name for results in sections.values() for result in results if result.status == "ok"}
    loaded = all(result.status != "problem" for result in sections["dcc"] if result.name == "dcc")
    return Report(sections, abilities(working if loaded else set(), gpus))


def abilities(working: Set[str], gpus: Collection[Any]) -> dict[str, bool]:
    """What the machine can do. ``working``: names of successful checks; empty if dcc cannot be loaded."""
    engines = {CUDA, TENSORRT}
    if any(runs_rtx(gpu) for gpu in gpus):
        engines.add(RTX)
    return {
        "match on the CPU": CPU in working,
        "match on a GPU": bool(gpus) and not engines.isdisjoint(working),
        "build TensorRT engines": TENSORRT in working,
        "build TensorRT-RTX engines": RTX in working,
        "train": TRAIN in working,
        "export": {CPU, EXPORT} <= working,  # ONNX Runtime verifies an export
    }
