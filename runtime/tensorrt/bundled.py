"""Engines that travel in the bundle that they were built from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dccnet.runtime.bundle import Bundle, EngineRecord, write_manifest
from dccnet.runtime.tensorrt.builder import BuildSettings, BuiltEngine, build_engine
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.tensorrt.plan import write_engine


def build_engines(
    bundle: Bundle,
    library: Library,
    settings: BuildSettings,
    on_step: Callable[[str], None] = lambda description: None,
    on_phase: Callable[[str], None] = lambda phase: None,
) -> list[BuiltEngine]:
    """Compile every graph of the bundle; nothing is written.

    ``on_step`` is told once for each graph, ``on_phase`` what the library says that it does. Raises
    as :func:`~dccnet.runtime.tensorrt.builder.build_engine`.
    """
    engines = []
    for name, graph in bundle.manifest.graphs.items():
        on_step(f"compiling the {name} with {library.title}")
        engines.append(build_engine(library, name, graph, bundle.graph_path(name), settings, on_phase))
    return engines


def add_engines(bundle: Bundle, engines: list[BuiltEngine]) -> Bundle:
    """Put them into the bundle, in place of older ones of the same library."""
    for engine in engines:
        write_engine(engine, bundle.path)
    records = {(r.graph, r.library): r for r in (*bundle.manifest.engines, *(e.record for e in engines))}
    manifest = dataclasses.replace(bundle.manifest, engines=tuple(records.values()))
    write_manifest(bundle.path, manifest)  # last: an interrupted call leaves the older manifest
    return Bundle(bundle.path, manifest)


def write_engines(engines: list[BuiltEngine], folder: Path) -> list[Path]:
    """Put them and their sidecars into another folder."""
    return [write_engine(engine, folder) for engine in engines]


def summary(record: EngineRecord) -> str:
    """One line for people."""
    targets = ", ".join(record.targets) or "all targets of the library"
    parts = [f"{record.graph}: {record.precision}, {targets}, batch {':'.join(map(str, record.batch))}"]
    parts.append(f"{record.bytes / 1e6:.1f} MB")
    if record.activation_bytes is not None:
        parts.append(f"needs {record.activation_bytes / 1e6:.0f} MB on the GPU")
    parts.append(f"built in {record.build_seconds:.1f} s")
    return ", ".join(parts)
