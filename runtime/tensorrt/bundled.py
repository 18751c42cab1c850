"""Building engines from a bundle, and storing them in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dccnet.runtime.bundle import Bundle, read_manifest, write_manifest
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import BundleError
from dccnet.runtime.manifest import EngineRecord
from dccnet.runtime.tensorrt.builder import BuildSettings, BuiltEngine, build_engine
from dccnet.runtime.tensorrt.cache import usual_timing_cache
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.tensorrt.plan import write_engine


def build_engines(
    bundle: Bundle,
    library: Library,
    settings: BuildSettings,
    on_step: Callable[[str], None] = lambda description: None,
    on_phase: Callable[[str], None] = lambda phase: None,
    device: Device | None = None,
) -> list[BuiltEngine]:
    """Compile every graph of the bundle; nothing is written.

    ``on_step`` is called once for each graph, ``on_phase`` with each phase that the library reports.
    TensorRT builds for the GPU ``device``; None: for CUDA's current one. Raises the errors of
    :func:`~dccnet.runtime.tensorrt.builder.build_engine`.
    """
    engines = []
    for name in bundle.manifest.graphs:
        on_step(f"compiling the {name} with {library.title}")
        engines.append(build_graph(bundle, name, library, settings, on_phase, device))
    return engines


def build_graph(
    bundle: Bundle,
    name: str,
    library: Library,
    settings: BuildSettings,
    on_phase: Callable[[str], None] = lambda phase: None,
    device: Device | None = None,
) -> BuiltEngine:
    """Compile the bundle's graph ``name``, as :func:`build_engines` does."""
    graph, timings = bundle.manifest.graphs[name], usual_timing_cache(library, device)
    return build_engine(library, name, graph, bundle.graph_path(name), settings, on_phase, device, timings)


def add_engines(bundle: Bundle, engines: list[BuiltEngine]) -> Bundle:
    """Write the engines into the bundle; they replace older ones of the same library.

    Raises :class:`BundleError` where another process has replaced the bundle since it was opened.
    """
    now = read_manifest(bundle.path)
    if now.graphs != bundle.manifest.graphs:
        raise BundleError(f"{bundle.path} was replaced while its engines were built: build them again")
    for engine in engines:
        write_engine(engine, bundle.path)
    records = {(r.graph, r.library): r for r in (*now.engines, *(e.record for e in engines))}
    manifest = dataclasses.replace(now, engines=tuple(records.values()))
    write_manifest(bundle.path, manifest)  # last: an interrupted call keeps the older manifest
    return Bundle(bundle.path, manifest)


def write_engines(engines: list[BuiltEngine], folder: Path) -> list[Path]:
    """Write the engines and their sidecars into another folder; returns the paths of the plans."""
    return [write_engine(engine, folder) for engine in engines]


def summary(record: EngineRecord) -> str:
    """One line that describes an engine to people."""
    targets = ", ".join(record.targets) or "all targets of the library"
    parts = [f"{record.graph}: {record.precision}, {targets}, batch {':'.join(map(str, record.batch))}"]
    parts.append(f"{record.bytes / 1e6:.1f} MB")
    if record.activation_bytes is not None:
        parts.append(f"needs {record.activation_bytes / 1e6:.0f} MB on the GPU")
    parts.append(f"built in {record.build_seconds:.1f} s")
    return ", ".join(parts)
