"""A bundle's network with any part of it changed, for measuring what the change costs."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import onnx

from dccnet.calibration.groups import Group, Level
from dccnet.runtime.bundle import ENCODER, MATCHER, Bundle
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend, OnnxRuntimeGraph


class Variants(Protocol):
    """Layers in INT8, or steps in half precision."""

    @property
    def bundle(self) -> Bundle:
        """Before anything is changed."""

    @property
    def name(self) -> str:
        """What layers become: ``INT8`` or ``float16``."""

    def groups(self, level: Level) -> list[Group]:
        """The candidates, in the order in which they run."""

    def matcher(self, chosen: Collection[str]) -> AbstractContextManager[Matcher]:
        """The network in ONNX Runtime, with the layers or steps of these names changed."""


@contextmanager
def open_changed(bundle: Bundle, changed: Mapping[str, onnx.ModelProto]) -> Iterator[Matcher]:
    """The bundle in ONNX Runtime on the CPU, with other graphs in place of those of these names."""
    runners = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in (ENCODER, MATCHER):
            path = bundle.graph_path(name)
            if name in changed:
                path = Path(scratch) / path.name
                onnx.save(changed[name], str(path))
            runners[name] = OnnxRuntimeGraph(path)
        backend = OnnxRuntimeBackend(runners[ENCODER], runners[MATCHER], "ONNX Runtime (CPU)")
        yield Matcher(bundle.manifest, backend)
