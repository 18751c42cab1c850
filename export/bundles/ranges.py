"""Does every number that a half-precision graph stores fit into float16? Measured on real pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dccnet.export.bundles.half import HalfTensor, half_tensors, widen
from dccnet.runtime.arrays import Array
from dccnet.runtime.bundle import ENCODER, MATCHER, RangeReport, TensorRange
from dccnet.runtime.images import Image
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph

LARGEST_FLOAT16 = 65504.0
REQUIRED_HEADROOM = 4.0
"""How many times larger than on the verification pictures a tensor may be elsewhere before it overflows."""
LISTED = 10
_PREFIX = "largest/"


class WidenedGraph:
    """A half-precision graph computed in float32, with the largest magnitude of what float16 would hold."""

    def __init__(self, path: Path, scratch: Path) -> None:
        """``scratch`` is a folder for the widened graph, which is removed again."""
        model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
        self.tensors = half_tensors(model)
        self._weights = _largest_weights(model)
        widen(model)
        _watch(model, [tensor.name for tensor in self.tensors])
        widened = scratch / f"widened-{path.name}"
        onnx.save(model, str(widened))
        self._graph = OnnxRuntimeGraph(widened)
        widened.unlink()
        self.largest = dict.fromkeys(self.tensors, 0.0) | self._weights

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """As the graph itself, in float32; remembers the largest magnitudes."""
        widened = {
            name: value.astype(np.float32) if value.dtype == np.float16 else value
            for name, value in inputs.items()
        }
        outputs = self._graph.run(widened)
        for tensor in self.tensors:
            found = float(outputs.pop(_PREFIX + tensor.name))
            self.largest[tensor] = max(self.largest[tensor], _finite(found))
        return outputs


def watch(paths: Mapping[str, Path], pairs: Iterable[tuple[Image, Image]]) -> dict[str, WidenedGraph]:
    """Encoder and matcher, files of half precision, having seen pairs of frames of the network's size."""
    with tempfile.TemporaryDirectory() as scratch:
        graphs = {name: WidenedGraph(paths[name], Path(scratch)) for name in (ENCODER, MATCHER)}
    for frames in pairs:
        features = [graphs[ENCODER].run({"frame": frame[None]}) for frame in frames]
        graphs[MATCHER].run(
            {
                f"{branch}_{side}": values
                for side, branches in zip("ab", features, strict=True)
                for branch, values in branches.items()
            }
        )
    return graphs


def report(graphs: Mapping[str, WidenedGraph]) -> RangeReport:
    """The tightest tensors of all graphs, by name of the graph."""
    ranges = [
        TensorRange(name, tensor.name, tensor.operator, largest, LARGEST_FLOAT16 / max(largest, 1e-30))
        for name, graph in graphs.items()
        for tensor, largest in graph.largest.items()
    ]
    ranges.sort(key=lambda r: r.headroom)
    return RangeReport(
        headroom=ranges[0].headroom,
        required_headroom=REQUIRED_HEADROOM,
        tensors=len(ranges),
        tightest=tuple(ranges[:LISTED]),
    )


def _largest_weights(model: onnx.ModelProto) -> dict[HalfTensor, float]:
    largest = {}
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT16:
            values = np.abs(numpy_helper.to_array(weight))
            largest[HalfTensor(weight.name, "weight")] = _finite(float(values.max(initial=0)))
    return largest


def _finite(largest: float) -> float:
    """Infinity and NaN as the largest float32, which a manifest can hold and float16 cannot."""
    return largest if np.isfinite(largest) else float(np.finfo(np.float32).max)


def _watch(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Have the graph return the largest magnitude of each named tensor, rather than the tensors."""
    for name in names:
        model.graph.node.append(helper.make_node("Abs", [name], [f"absolute/{name}"]))
        model.graph.node.append(
            helper.make_node("ReduceMax", [f"absolute/{name}"], [_PREFIX + name], keepdims=0)
        )
        model.graph.output.append(helper.make_tensor_value_info(_PREFIX + name, TensorProto.FLOAT, []))
