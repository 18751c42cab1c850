"""Changes some nodes of a float32 graph to float16."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dccnet.export.bundles.readback import tensor_types

_SUFFIX: dict[int, str] = {TensorProto.FLOAT: "/float32", TensorProto.FLOAT16: "/float16"}


def to_half_precision(
    model: onnx.ModelProto, chosen: Collection[str], half_tensors: Collection[str] = ()
) -> onnx.ModelProto:
    """A copy of the float32 ``model`` in which the nodes whose names are in ``chosen`` compute in float16.

    Casts are inserted between nodes of different precision. Inputs and outputs of the graph whose names are
    in ``half_tensors`` become float16; the others keep their types.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    change = _Conversion(tensor_types(inferred), {weight.name: weight for weight in graph.initializer})
    for value in graph.input:
        change.precision[value.name] = (
            TensorProto.FLOAT16 if value.name in half_tensors else TensorProto.FLOAT
        )
    for node in graph.node:
        change.add(node, TensorProto.FLOAT16 if node.name in chosen else TensorProto.FLOAT)
    for value in graph.output:
        change.add_output(
            value.name, TensorProto.FLOAT16 if value.name in half_tensors else TensorProto.FLOAT
        )
    result: onnx.ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    for value in (*result.graph.input, *result.graph.output):
        if value.name in half_tensors:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    used = {name for node in change.nodes for name in node.input}
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(change.nodes)
    result.graph.initializer.extend(w for name, w in change.weights.items() if name in used)
    return result


class _Conversion:
    """The new graph; nodes are added in the order of the old one."""

    def __init__(self, types: dict[str, int], weights: dict[str, TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights = weights
        self.precision: dict[str, int] = {}
        """Type in which each floating-point tensor has been computed, without weights."""
        self._floats = {name for name, dtype in types.items() if dtype == TensorProto.FLOAT}
        self._cast: set[str] = set()

    def add(self, node: onnx.NodeProto, dtype: int) -> None:
        """Add a copy of ``node`` whose floating-point computations are in ``dtype``."""
        added = onnx.NodeProto.FromString(node.SerializeToString())
        if node.op_type != "Shape":  # accepts any type
            added.input[:] = [self._as(name, dtype) for name in node.input]
        for attribute in added.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = dtype
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_converted(attribute.t, attribute.t.name, dtype))
        self.nodes.append(added)
        self.precision.update((name, dtype) for name in node.output if name in self._floats)

    def add_output(self, name: str, dtype: int) -> None:
        """Make ``name``, an output of the graph, have type ``dtype``."""
        if name not in self._floats or self.precision[name] == dtype:
            return
        inner = name + _SUFFIX[self.precision[name]]
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [inner if other == name else other for other in names]
        self.nodes.append(helper.make_node("Cast", [inner], [name], name=f"cast {name}", to=dtype))

    def _as(self, name: str, dtype: int) -> str:
        """Name of the tensor in ``dtype``; adds a cast if necessary."""
        if name not in self._floats:
            return name
        wanted = name + _SUFFIX[dtype]
        if name in self.weights:
            if dtype == TensorProto.FLOAT:
                return name
            if wanted not in self.weights:
                self.weights[wanted] = _converted(self.weights[name], wanted, dtype)
            return wanted
        if self.precision[name] == dtype:
            return name
        if wanted not in self._cast:
            self._cast.add(wanted)
            self.nodes.append(helper.make_node("Cast", [name], [wanted], name=f"cast {wanted}", to=dtype))
        return wanted


def _converted(tensor: TensorProto, name: str, dtype: int) -> TensorProto:
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    with np.errstate(over="ignore"):  # overflow is noticed by its headroom
        return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), name)
