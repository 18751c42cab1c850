"""Whether every value that a half-precision graph stores fits into float16, measured on real pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dccnet.export.bundles.rounding import HalfTensor, half_tensors, widen
from dccnet.export.bundles.scratch import open_graph
from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import matcher_inputs
from dccnet.runtime.manifest import ENCODER, MATCHER, RangeReport, TensorRange

LARGEST_FLOAT16 = 65504.0
REQUIRED_HEADROOM = 4.0
"""How many times larger than on the verification pictures a tensor must be able to become without
overflow."""
LISTED = 10
_PREFIX = "largest/"


class WidenedGraph:
    """A half-precision graph computed in float32, with the largest magnitude of each float16 tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        model = onnx.shape_inference.infer_shapes(model)
        self.tensors = half_tensors(model)
        self._weights = _largest_weights(model)
        widen(model)
        _return_magnitudes(model, [tensor.name for tensor in self.tensors])
        self._graph = open_graph(model, "widened")
        self.largest = dict.fromkeys(self.tensors, 0.0) | self._weights
        """Largest magnitude of each tensor in all runs so far, and of each weight."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of the graph in float32; updates ``largest``."""
        widened = {
            name: value.astype(np.float32) if value.dtype == np.float16 else value
            for name, value in inputs.items()
        }
        outputs = self._graph.run(widened)
        for tensor in self.tensors:
            magnitude = float(outputs.pop(_PREFIX + tensor.name))
            self.largest[tensor] = max(self.largest[tensor], _finite(magnitude))
        return outputs


def run_widened(
    models: Mapping[str, onnx.ModelProto], pairs: Iterable[tuple[Array, Array]]
) -> dict[str, WidenedGraph]:
    """Encoder and matcher in half precision, by name, after they ran on ``pairs`` of frames.

    Frames are ``(H, W, 3)`` BGR, of the encoder's size and type.
    """
    graphs = {name: WidenedGraph(models[name]) for name in (ENCODER, MATCHER)}
    for pair in pairs:
        a, b = (graphs[ENCODER].run({"frame": frame[None]}) for frame in pair)
        graphs[MATCHER].run(matcher_inputs(a, b))
    return graphs


def report(graphs: Mapping[str, WidenedGraph]) -> RangeReport:
    """The tensors of all ``graphs`` that come closest to overflow."""
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


def _finite(magnitude: float) -> float:
    """Replace infinity and NaN by the largest float32: JSON can represent it and float16 cannot."""
    return magnitude if np.isfinite(magnitude) else float(np.finfo(np.float32).max)


def _return_magnitudes(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Add an output with the largest magnitude of each named tensor: far smaller than the tensors."""
    for name in names:
        model.graph.node.append(helper.make_node("Abs", [name], [f"absolute/{name}"]))
        model.graph.node.append(
            helper.make_node("ReduceMax", [f"absolute/{name}"], [_PREFIX + name], keepdims=0)
        )
        model.graph.output.append(helper.make_tensor_value_info(_PREFIX + name, TensorProto.FLOAT, []))
