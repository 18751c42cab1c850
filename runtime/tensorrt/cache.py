"""The cache of engines that were built on first use."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from dccnet.runtime.cuda import Device
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import DccError, EngineError
from dccnet.runtime.files import write_text
from dccnet.runtime.manifest import EngineComparison, GpuRecord, Graph
from dccnet.runtime.reading import read_json
from dccnet.runtime.tensorrt.builder import BuildSettings
from dccnet.runtime.tensorrt.gpu_record import gpu_record
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.user_cache import private_cache


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/dcc/engines``, or ``~/.cache/dcc/engines``; only the user can write there.

    Raises :class:`EngineError` where there is no such folder.
    """
    try:
        return private_cache("engines")
    except DccError as error:
        raise EngineError(f"engines cannot be kept: {error}") from error


def _usable_folder() -> Path | None:
    """:func:`cache_folder`, or None where there is no such folder."""
    try:
        return cache_folder()
    except EngineError:
        return None


def compared_once(
    what: Sequence[str], gpu: GpuRecord, compare: Callable[[], EngineComparison]
) -> EngineComparison:
    """The comparison of ``what`` on this GPU: from the cache, or made by ``compare`` and kept there.

    ``what`` identifies what runs: digests and settings. A user without a cache compares every time.
    """
    folder = _usable_folder()
    if folder is None:
        return compare()
    digest = hashlib.sha256(json.dumps([list(what), dataclasses.asdict(gpu)]).encode()).hexdigest()
    file = folder / "comparisons" / f"{digest[:20]}.json"
    try:
        return decode(EngineComparison, read_json(file))
    except (OSError, ValueError):
        found = compare()
    with contextlib.suppress(DccError):  # the next process compares again
        write_text(file, json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    return found


def kernel_file(plans: Sequence[str], library: Library, gpu: GpuRecord) -> Path | None:
    """File with the kernels that TensorRT-RTX compiled for these plans (SHA-256) on this GPU.

    None for TensorRT, which compiles when it builds, and for a user without a cache.
    """
    folder = _usable_folder() if library.is_rtx else None
    if folder is None:
        return None
    key = [list(plans), library.version, dataclasses.asdict(gpu)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return folder / "kernels" / f"{digest[:20]}.cache"


def usual_timing_cache(library: Library, device: Device | None) -> Path | None:
    """The file with kernel timings of builds on this GPU.

    None for TensorRT-RTX, which times nothing, and for a user without a cache.
    """
    if library.is_rtx or device is None:
        return None
    folder = _usable_folder()
    if folder is None:
        return None
    key = [library.version, dataclasses.asdict(gpu_record(device))]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return folder / "timings" / f"{digest[:20]}.cache"


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
