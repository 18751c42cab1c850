"""The three graphs around the network, as ONNX models."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from dccnet.export.bundles.readback import BATCH
from dccnet.export.triton.graphs import arrays as op
from dccnet.export.triton.graphs.arrays import Array, Graph, Shape
from dccnet.export.triton.graphs.pairs import Pair, carried, matches
from dccnet.export.triton.graphs.refining import fine_of
from dccnet.export.triton.graphs.resizing import frame_of, size_of
from dccnet.export.triton.graphs.windows import Direction
from dccnet.runtime.manifest import FINE, FRAME, Manifest, TensorSpec

PICTURE, SIZE, POINTS = "picture", "size", "points"
_NUMBER = "number"
"""Of points: any."""


def preprocessing(manifest: Manifest) -> onnx.ModelProto:
    """``picture`` ``(batch, height, width, 3)`` uint8 BGR of any size -> ``frame``, as the encoder takes
    it, and ``size`` ``(batch, 2)`` int64, the picture's (height, width)."""
    graph = Graph()
    picture = graph.input(PICTURE, (BATCH, "height", "width", 3), "uint8")
    frame = frame_of(picture, manifest.frames), (BATCH, *manifest.image_size, 3)
    return graph.model("preprocess", {FRAME: frame, SIZE: (size_of(picture), (BATCH, 2))})


def matches_graph(manifest: Manifest, tensors: Mapping[str, TensorSpec]) -> onnx.ModelProto:
    """The matcher's outputs, sizes and fine features -> :func:`~dccnet.export.triton.graphs.pairs.matches`.

    ``tensors`` are what the encoder and the matcher return, by name.
    """
    graph = Graph()
    cells = manifest.grid[0] * manifest.grid[1]
    return _model(graph, "matches", matches(_pair(graph, manifest, tensors)), cells)


def points_graph(manifest: Manifest, tensors: Mapping[str, TensorSpec]) -> onnx.ModelProto:
    """The same, and ``points`` ``(batch, number, 2)`` float64 of A ->
    :func:`~dccnet.export.triton.graphs.pairs.carried`."""
    graph = Graph()
    points = graph.input(POINTS, (BATCH, _NUMBER, 2), "float64")
    return _model(graph, "points", carried(_pair(graph, manifest, tensors), points), _NUMBER)


def _pair(graph: Graph, manifest: Manifest, tensors: Mapping[str, TensorSpec]) -> Pair:
    def given(name: str, side: str = "") -> Array:
        return graph.input(name + side, tensors[name].shape, tensors[name].dtype)

    def way(side: str) -> Direction:
        index, score = (
            op.astype(given(f"index_{side}"), "int64"),
            op.astype(given(f"score_{side}"), "float32"),
        )
        return Direction(manifest.grid, manifest.grid, index, score, given(f"window_{side}"))

    a, b = way("a"), way("b")
    size_a, size_b = (graph.input(f"{SIZE}_{side}", (BATCH, 2), "int64") for side in "ab")
    if manifest.fine is None:
        return Pair(a, b, size_a, size_b, None, manifest.confidence)
    channels, height, width = (int(length) for length in tensors[FINE].shape[1:])
    fine_a, fine_b = (
        fine_of(given(FINE, f"_{side}"), (channels, height, width), manifest.fine, manifest.image_size)
        for side in "ab"
    )
    return Pair(a, b, size_a, size_b, (fine_a, fine_b), manifest.confidence)


def _model(graph: Graph, name: str, outputs: Mapping[str, Array], count: int | str) -> onnx.ModelProto:
    def shape(output: str) -> Shape:
        return (BATCH, count, 2) if output.startswith(POINTS) else (BATCH, count)

    return graph.model(name, {output: (array, shape(output)) for output, array in outputs.items()})
