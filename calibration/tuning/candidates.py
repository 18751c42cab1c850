"""The ways to run a bundle's graphs that this machine has."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import get_args

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cores import usable_cores
from dccnet.runtime.cuda import cuda_problem
from dccnet.runtime.onnx_runtime import ON_HOST, PROVIDERS
from dccnet.runtime.tuning.choice import USUAL, Provider, Way

SEVERAL = 4
"""Cores from which half of them are tried, too: cores may be threads that share one, or differ in speed."""


def usual_threads() -> list[int]:
    """Numbers of threads to try: one for each core (0) and, where there are several, half as many."""
    cores = usable_cores()
    return [0, cores // 2] if cores >= SEVERAL else [0]


def ways_on_host(threads: Sequence[int], bf16: bool) -> list[Way]:
    """Ways whose features are in host memory, which can be mixed; the usual one first."""
    ways = [USUAL]
    for count in threads:
        ways.append(Way("onnxruntime", threads=count))
        ways += [Way("onnxruntime", provider, count) for provider in _other_providers()]
        if _is_installed("openvino"):
            ways += [
                Way("openvino", threads=count, bf16=rounded)
                for rounded in ([False, True] if bf16 else [False])
            ]
    return list(dict.fromkeys(ways))


def ways_on_gpu(bundle: Bundle) -> list[Way]:
    """Ways that keep features on an NVIDIA GPU, so that they run both graphs."""
    made = bundle.manifest.calibration
    if cuda_problem() is not None or (made is not None and made.target == "cpu"):
        return []
    return [Way("tensorrt", "cuda"), Way("onnxruntime", "cuda")]


def _other_providers() -> list[Provider]:
    try:
        available = importlib.import_module("onnxruntime").get_available_providers()
    except ImportError:
        return []
    return [
        name for name in get_args(Provider) if name in ON_HOST - {"cpu"} and PROVIDERS[name] in available
    ]


def _is_installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
