"""A backend of two graphs, each in whatever engine runs it, with features in host memory between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors, matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.bundle_shapes import check_shapes
from dccnet.runtime.errors import ImageError
from dccnet.runtime.manifest import ENCODER, MATCHER


class LoadedGraph(Protocol):
    """A graph in an engine. ``run`` may be called from several threads at once."""

    @property
    def shapes(self) -> Mapping[str, Sequence[Any]]:
        """Of inputs and outputs, by name; a text is a dynamic dimension."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name, each with a batch of one."""


Graph = TypeVar("Graph", bound=LoadedGraph)


class TwoGraphsBackend(Generic[Graph]):
    """An encoder and a matcher; features are NumPy arrays ``(1, C, h, w)``."""

    def __init__(self, encoder: Graph, matcher: Graph, description: str) -> None:
        self.description = description
        self._encoder, self._matcher = encoder, matcher

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        return self._encoder.run({"frame": frame_on_host(frame)[None]})

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        return {name: value[0] for name, value in self._matcher.run(matcher_inputs(a, b)).items()}

    def close(self) -> None:
        """Nothing to do: engines free their memory when they are collected."""


def load_both(bundle: Bundle, load: Callable[[str], Graph]) -> tuple[Graph, Graph]:
    """The bundle's encoder and matcher, each as ``load`` returns it for its name.

    They are loaded at once, because engines optimise a graph on one thread. Raises :class:`BundleError` for
    another grid than the manifest's, and what ``load`` raises.
    """
    with ThreadPoolExecutor() as pool:
        encoder, matcher = pool.map(load, (ENCODER, MATCHER))
    check_shapes(bundle, encoder.shapes, matcher.shapes)
    return encoder, matcher


def frame_on_host(frame: Any) -> Array:
    """The frame. Raises :class:`ImageError` for one that is not in host memory."""
    if not isinstance(frame, np.ndarray):
        raise ImageError(
            "this backend takes frames in host memory: copy the frame, or use --backend tensorrt"
        )
    return frame
