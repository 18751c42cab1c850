"""The rounding of float16 on a CPU: graphs that compute in float32 and round what float16 would store.

ONNX Runtime has few float16 kernels for CPUs. It computes the other operators in float32 and, where two of
them share a float16 tensor, keeps its float32 values. So a half-precision graph run directly on a CPU is
more accurate than on the engines that it is meant for. Casts to float16 and back in a float32 graph, on the
other hand, are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dccnet.export.bundles.readback import LAYER_CLASSES, tensor_types
from dccnet.export.bundles.scratch import open_graph
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend


class HalfTensor(NamedTuple):
    """A float16 tensor of a graph."""

    name: str
    operator: str
    """ONNX operator of the node that computes the tensor, or ``weight``."""


def half_tensors(model: onnx.ModelProto) -> list[HalfTensor]:
    """Float16 tensors of ``model``, which has inferred shapes.

    Tensors that only move another tensor's values (a transpose, a slice) are not among them.
    """
    types = tensor_types(model)
    producers = {name: node.op_type for node in model.graph.node for name in node.output}
    return [
        HalfTensor(name, producers[name])
        for name, dtype in types.items()
        if dtype == TensorProto.FLOAT16 and producers.get(name) in {*LAYER_CLASSES, "Cast"}
    ]


def widen(model: onnx.ModelProto) -> None:
    """Change every float16 type and value of the graph to float32, in place."""
    graph = model.graph
    for weight in graph.initializer:
        _widen_tensor(weight)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
    del graph.value_info[:]


def with_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph that rounds the result of every operator whose result is float16 in ``model``.

    Sums within an operator stay float32, as in the matrix products and convolutions of engines.
    """
    model = onnx.shape_inference.infer_shapes(model)
    rounded = {tensor.name for tensor in half_tensors(model)}
    widen(model)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        model.graph.node.append(node)
        for place, name in enumerate(node.output):
            if name in rounded:
                exact, half = f"{name}/exact", f"{name}/half"
                node.output[place] = exact
                model.graph.node[-1].output[place] = exact
                model.graph.node.append(helper.make_node("Cast", [exact], [half], to=TensorProto.FLOAT16))
                model.graph.node.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    return model


def open_with_rounding(bundle: Bundle, models: Mapping[str, onnx.ModelProto] | None = None) -> Matcher:
    """A matcher on the CPU that rounds wherever the graphs of ``bundle`` store float16.

    ``models`` replace the bundle's graphs, by name (``encoder`` and ``matcher``).
    """
    if models is None:
        models = {name: onnx.load(str(bundle.graph_path(name))) for name in (ENCODER, MATCHER)}
    encoder, matcher = (open_graph(with_rounding(models[name]), name) for name in (ENCODER, MATCHER))
    backend = OnnxRuntimeBackend(encoder, matcher, "ONNX Runtime (CPU), float16 rounded as stored")
    return Matcher(bundle.manifest, backend)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
