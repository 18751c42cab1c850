"""What float16 does to a graph's numbers, on a CPU: computed in float32, rounded where the graph stores.

ONNX Runtime has few float16 kernels for CPUs. It computes the rest in float32, and of a float16 tensor that
two such operators share it keeps the float32 numbers: run as it is, a half-precision graph looks better on
a CPU than on what it is for. Casts there and back in a float32 graph are left alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dccnet.export.bundles.readback import LAYER_CLASSES, tensor_types
from dccnet.runtime.bundle import ENCODER, MATCHER, Bundle
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend, OnnxRuntimeGraph


class HalfTensor(NamedTuple):
    name: str
    operator: str
    """Of the node that makes it, or ``weight``."""


def half_tensors(model: onnx.ModelProto) -> list[HalfTensor]:
    """All but those that only hold another's numbers elsewhere; ``model`` has inferred shapes."""
    types = tensor_types(model)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    return [
        HalfTensor(name, makers[name])
        for name, dtype in types.items()
        if dtype == TensorProto.FLOAT16 and makers.get(name) in {*LAYER_CLASSES, "Cast"}
    ]


def widen(model: onnx.ModelProto) -> None:
    """Every float16 of the graph becomes float32, in place."""
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


def as_stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph that rounds to float16 whatever ``model`` stores in it: results of every operator.

    Sums within an operator are float32, as engines add up matrix products and convolutions.
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


def open_as_stored(bundle: Bundle, models: dict[str, onnx.ModelProto] | None = None) -> Matcher:
    """A bundle's network, or other graphs in place of its own, on the CPU with float16 as it is stored."""
    runners = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in (ENCODER, MATCHER):
            path = Path(scratch) / f"{name}.onnx"
            model = onnx.load(str(bundle.graph_path(name))) if models is None else models[name]
            onnx.save(as_stored(model), str(path))
            runners[name] = OnnxRuntimeGraph(path)
    backend = OnnxRuntimeBackend(
        runners[ENCODER], runners[MATCHER], "ONNX Runtime (CPU), float16 as it is stored"
    )
    return Matcher(bundle.manifest, backend)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
