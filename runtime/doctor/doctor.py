"""Whether dcc works on this machine: every check, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from dccnet.runtime.doctor.check import Check, guarded
from dccnet.runtime.doctor.inference import (
    CPU,
    CUDA,
    PROVIDERS,
    TENSORRT_PROVIDER,
    engine_library,
    onnx_runtime,
    provider,
)
from dccnet.runtime.doctor.installed import complete, dccnet
from dccnet.runtime.doctor.machine import (
    bindings,
    cache,
    cores,
    dcc,
    memory,
    nvidia,
    opencv,
    pycuda,
    python,
    system,
    usable_gpus,
)

TENSORRT, RTX = "TensorRT", "TensorRT-RTX"
TRAIN, EXPORT = "dcc train", "dcc export"
NO_RTX = (9, 10, 11)
"""Compute capabilities (major) of the GPUs that TensorRT-RTX leaves to TensorRT."""


@dataclass(frozen=True, slots=True)
class Report:
    sections: dict[str, list[Check]]
    abilities: dict[str, bool]
    """Such as ``match on the CPU``: whether this machine can."""

    @property
    def problems(self) -> list[Check]:
        return [check for checks in self.sections.values() for check in checks if check.status == "problem"]


def examine() -> Report:
    """Takes a few seconds at most, and raises nothing."""
    gpus = usable_gpus()
    gpu = bool(gpus)
    asked: dict[str, dict[str, Callable[[str], Check]]] = {
        "Machine": {"Python": python, "System": system, "CPU cores": cores, "Memory": memory},
        "dcc": {"dcc": dcc, "OpenCV": opencv, "Engine cache": partial(cache, gpu)},
        "GPU": {"NVIDIA GPU": nvidia, "cuda-python": bindings, "pycuda": pycuda},
        "Inference": {
            "ONNX Runtime": partial(onnx_runtime, gpu),
            **dict.fromkeys(PROVIDERS, partial(provider, gpu)),
            TENSORRT: partial(engine_library, "tensorrt", "gpu", gpu),
            RTX: partial(engine_library, "tensorrt_rtx", "rtx", gpu),
        },
        "Training and export": {TRAIN: partial(complete, "train"), EXPORT: partial(complete, "export")},
    }
    sections = {
        title: [guarded(name, check) for name, check in checks.items()] for title, checks in asked.items()
    }
    inference = sections["Inference"]
    if all(check.status == "absent" for check in inference):
        cure = f"pip install {dccnet('cpu')}"
        inference.insert(0, Check("Engine", "problem", "nothing here can run a network", cure))
    fine = {check.name for checks in sections.values() for check in checks if check.status == "ok"}
    loaded = all(check.status != "problem" for check in sections["dcc"] if check.name == "dcc")
    return Report(sections, abilities(fine if loaded else set(), gpus))


def abilities(fine: Set[str], gpus: Collection[Any]) -> dict[str, bool]:
    """``fine``: the names of the checks that found nothing wrong; none where dcc cannot be loaded."""
    engines = {CUDA, TENSORRT_PROVIDER, TENSORRT}
    if any(gpu.capability[0] not in NO_RTX for gpu in gpus):
        engines.add(RTX)
    return {
        "match on the CPU": CPU in fine,
        "match on a GPU": bool(gpus) and not engines.isdisjoint(fine),
        "build TensorRT engines": TENSORRT in fine,
        "build TensorRT-RTX engines": RTX in fine,
        "train": TRAIN in fine,
        "export": {CPU, EXPORT} <= fine,  # an export is held against PyTorch in ONNX Runtime
    }
