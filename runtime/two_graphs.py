"""A backend of two graphs, each in whatever engine runs it, with features in host memory between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors, matcher_inputs
from dccnet.runtime.onnx_runtime import frame_on_host


class LoadedGraph(Protocol):
    """A graph in an engine. ``run`` may be called from several threads at once."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name, each with a batch of one."""


class TwoGraphsBackend:
    """An encoder and a matcher; features are NumPy arrays ``(1, C, h, w)``."""

    def __init__(self, encoder: LoadedGraph, matcher: LoadedGraph, description: str) -> None:
        self.description = description
        self._encoder, self._matcher = encoder, matcher

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        return self._encoder.run({"frame": frame_on_host(frame)[None]})

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        return {name: value[0] for name, value in self._matcher.run(matcher_inputs(a, b)).items()}

    def close(self) -> None:
        """Nothing to do: engines free their memory when they are collected."""
