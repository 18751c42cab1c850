"""A bundle's network with any of its layers changed, to measure what the change costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import onnx

from dccnet.calibration.groups import Group, Level
from dccnet.export.bundles.scratch import open_graph
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend, OnnxRuntimeGraph


class Candidates(Protocol):
    """Layers that can become INT8, or steps that can become half precision."""

    @property
    def bundle(self) -> Bundle:
        """The unchanged bundle."""

    @property
    def name(self) -> str:
        """The precision that layers change to: ``INT8`` or ``float16``."""

    def groups(self, level: Level) -> list[Group]:
        """The candidates in groups, in the order in which they run."""

    def matcher(self, chosen: Collection[str]) -> Matcher:
        """The network in ONNX Runtime on the CPU with the layers or steps of these names changed."""


def open_changed(bundle: Bundle, changed: Mapping[str, onnx.ModelProto]) -> Matcher:
    """The bundle in ONNX Runtime on the CPU, with ``changed`` instead of its graphs of these names."""
    encoder, matcher = (
        open_graph(changed[name], name) if name in changed else OnnxRuntimeGraph(bundle.graph_path(name))
        for name in (ENCODER, MATCHER)
    )
    return Matcher(bundle.manifest, OnnxRuntimeBackend(encoder, matcher, "ONNX Runtime (CPU)"))
