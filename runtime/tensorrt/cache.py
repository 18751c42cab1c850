"""The cache of engines that were built on first use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from dccnet.runtime.cuda import Device
from dccnet.runtime.files import sha256_of
from dccnet.runtime.manifest import GpuRecord, Graph
from dccnet.runtime.tensorrt.builder import BuildSettings
from dccnet.runtime.tensorrt.gpu_record import gpu_record
from dccnet.runtime.tensorrt.library import Library


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/dcc/engines``, or ``~/.cache/dcc/engines``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dcc" / "engines"


def comparison_file(plans: Sequence[bytes], gpu: GpuRecord) -> Path:
    """File with the comparison of these plans on this GPU, where their sidecars contain none."""
    key = [[sha256_of(plan) for plan in plans], dataclasses.asdict(gpu)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return cache_folder() / "comparisons" / f"{digest[:20]}.json"


def usual_timing_cache(library: Library, device: Device | None) -> Path | None:
    """The file with kernel timings of builds on this GPU; None for TensorRT-RTX, which times nothing."""
    if library.is_rtx or device is None:
        return None
    key = [library.version, dataclasses.asdict(gpu_record(device))]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return cache_folder() / "timings" / f"{digest[:20]}.cache"


def engine_folder(graph: Graph, library: Library, settings: BuildSettings, gpu: str) -> Path:
    """Folder of the engine for this graph, library and settings; ``gpu`` names a GPU and its capability."""
    relevant = dataclasses.asdict(settings) | {"timing_cache": None}  # it changes no engine, only the build
    key = {
        "graph": graph.sha256,
        "precision": graph.precision,
        "library": library.name,
        "version": library.version,
        "gpu": gpu,
        "settings": relevant,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder() / digest[:20]
