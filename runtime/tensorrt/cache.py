"""Engines built where they are used, kept for the next time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from dccnet.runtime.bundle import Graph
from dccnet.runtime.tensorrt.builder import BuildSettings
from dccnet.runtime.tensorrt.library import Library


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/dcc/engines``, or ``~/.cache/dcc/engines``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dcc" / "engines"


def engine_folder(graph: Graph, library: Library, settings: BuildSettings, gpu: str) -> Path:
    """Where an engine lies that was built from just this, for a GPU of this name and capability."""
    wanted = dataclasses.asdict(settings) | {"timing_cache": None}  # how it was found changes no engine
    key = {
        "graph": graph.sha256,
        "precision": graph.precision,
        "library": library.name,
        "version": library.version,
        "gpu": gpu,
        "settings": wanted,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder() / digest[:20]
