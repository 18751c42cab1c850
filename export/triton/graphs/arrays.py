"""Arrays that record ONNX operators, so that graphs are written as formulas.

Only what the graphs here need: arithmetic with numbers and NumPy arrays, which take the type of the
recorded array, and the functions below, which are named as NumPy's. Nothing is computed while a graph is
written. (The library ndonnx has the same idea; it computes every constant part at once, and took minutes
for these graphs.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
_IR_VERSION = 10
"""Of ONNX files that ONNX Runtime reads since 1.18."""
Shape = tuple[int | str, ...]
"""A text is the name of a length that varies."""


class Graph:
    """A graph that is being written."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        self._inputs.append(helper.make_tensor_value_info(name, _type_of(dtype), shape))
        return Array(self, name, np.dtype(dtype))

    def constant(self, values: ArrayLike, dtype: DTypeLike) -> Array:
        array = np.asarray(values, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(array, f"constant_{len(self._constants)}")
        return Array(self, self._constants[key].name, array.dtype)

    def add(self, operator: str, inputs: Sequence[Array], dtype: DTypeLike, **attributes: Any) -> Array:
        """The output of a new node."""
        name = f"{operator}_{len(self._nodes)}"
        names = [array.name for array in inputs]
        self._nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return Array(self, name, np.dtype(dtype))

    def model(self, name: str, outputs: Mapping[str, tuple[Array, Shape]]) -> onnx.ModelProto:
        """The finished graph: ``outputs`` by name, each with its shape."""
        values = []
        for output, (array, shape) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [array.name], [output], name=output))
            values.append(helper.make_tensor_value_info(output, _type_of(array.dtype), shape))
        graph = helper.make_graph(self._nodes, name, self._inputs, values, [*self._constants.values()])
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="dcc")


class Array:
    """An input, a constant or the output of a node."""

    __array_ufunc__ = None  # NumPy's arrays leave operators to this class

    def __init__(self, graph: Graph, name: str, dtype: np.dtype[Any]) -> None:
        self.graph, self.name, self.dtype = graph, name, dtype

    def like(self, other: Operand) -> Array:
        """``other`` in the same graph, with the type of this array if it is no recorded one."""
        return other if isinstance(other, Array) else self.graph.constant(other, self.dtype)

    def _with(
        self, operator: str, other: Operand, dtype: DTypeLike | None = None, swap: bool = False
    ) -> Array:
        pair = [self, self.like(other)]
        assert pair[0].dtype == pair[1].dtype, (operator, pair[0].dtype, pair[1].dtype)
        return self.graph.add(operator, pair[::-1] if swap else pair, dtype or self.dtype)

    def __add__(self, other: Operand) -> Array:
        return self._with("Add", other)

    def __sub__(self, other: Operand) -> Array:
        return self._with("Sub", other)

    def __rsub__(self, other: Operand) -> Array:
        return self._with("Sub", other, swap=True)

    def __mul__(self, other: Operand) -> Array:
        return self._with("Mul", other)

    def __truediv__(self, other: Operand) -> Array:
        assert self.dtype.kind == "f"
        return self._with("Div", other)

    def __floordiv__(self, other: int) -> Array:
        """Of whole numbers that are not negative."""
        assert self.dtype.kind == "i"
        return self._with("Div", other)

    def __neg__(self) -> Array:
        return self.graph.add("Neg", [self], self.dtype)

    def __abs__(self) -> Array:
        return self.graph.add("Abs", [self], self.dtype)

    def __lt__(self, other: Operand) -> Array:
        return self._with("Less", other, np.bool_)

    def __gt__(self, other: Operand) -> Array:
        return self._with("Greater", other, np.bool_)

    def __le__(self, other: Operand) -> Array:
        return self._with("LessOrEqual", other, np.bool_)

    def __ge__(self, other: Operand) -> Array:
        return self._with("GreaterOrEqual", other, np.bool_)

    def equals(self, other: Operand) -> Array:
        return self._with("Equal", other, np.bool_)

    def __and__(self, other: Operand) -> Array:
        return self._with("And", other)

    def last(self, number: int, *, keep: bool = False) -> Array:
        """``(…, n)`` -> ``(…)``, or ``(…, 1)`` with ``keep``: one element of the last axis."""
        return take(self, [number] if keep else number, axis=-1)


Operand = Array | ArrayLike
"""What is calculated with."""


def astype(array: Array, dtype: DTypeLike) -> Array:
    """Floats become whole numbers by leaving out what follows the point."""
    if array.dtype == dtype:
        return array
    return array.graph.add("Cast", [array], dtype, to=_type_of(dtype))


def where(condition: Array, a: Operand, b: Operand) -> Array:
    recorded = a if isinstance(a, Array) else b
    assert isinstance(recorded, Array)
    return recorded.graph.add("Where", [condition, recorded.like(a), recorded.like(b)], recorded.dtype)


def minimum(array: Array, other: Operand) -> Array:
    return array._with("Min", other)


def maximum(array: Array, other: Operand) -> Array:
    return array._with("Max", other)


def matmul(array: Array, other: Operand) -> Array:
    return array._with("MatMul", other)


def take(array: Array, numbers: Operand, axis: int) -> Array:
    """Elements of an axis by number, which may have any shape."""
    numbers = numbers if isinstance(numbers, Array) else array.graph.constant(numbers, np.int64)
    return array.graph.add("Gather", [array, numbers], array.dtype, axis=axis)


def take_along_last(array: Array, numbers: Array) -> Array:
    """``(…, n)`` at ``numbers`` ``(…, m)`` of their last axis."""
    return array.graph.add("GatherElements", [array, numbers], array.dtype, axis=-1)


def concat(arrays: Sequence[Array], axis: int) -> Array:
    return arrays[0].graph.add("Concat", arrays, arrays[0].dtype, axis=axis)


def expand_dims(array: Array, axis: int) -> Array:
    return array.graph.add("Unsqueeze", [array, array.graph.constant([axis], np.int64)], array.dtype)


def reshape(array: Array, shape: Operand) -> Array:
    shape = shape if isinstance(shape, Array) else array.graph.constant(shape, np.int64)
    return array.graph.add("Reshape", [array, shape], array.dtype)


def permute_dims(array: Array, axes: Sequence[int]) -> Array:
    return array.graph.add("Transpose", [array], array.dtype, perm=list(axes))


def broadcast_to(array: Array, shape: Array) -> Array:
    return array.graph.add("Expand", [array, shape], array.dtype)


def shape_of(array: Array) -> Array:
    """Lengths of the axes, int64."""
    return array.graph.add("Shape", [array], np.int64)


def reduce(how: str, array: Array, axis: int, *, keepdims: bool = False) -> Array:
    """``how`` is Sum, Mean, Max or Min."""
    axes = array.graph.constant([axis], np.int64)
    return array.graph.add(f"Reduce{how}", [array, axes], array.dtype, keepdims=int(keepdims))


def argmax(array: Array) -> Array:
    """``(…, n)`` -> ``(…, 1)``: the number of the first of the largest."""
    return array.graph.add("ArgMax", [array], np.int64, axis=-1, keepdims=1)


def apply(function: str, array: Array) -> Array:
    """An ONNX function of one array: Sqrt, Exp, Log, Tanh, Floor, Ceil, Round (half to even)."""
    return array.graph.add(function, [array], array.dtype)


def _type_of(dtype: DTypeLike) -> TensorProto.DataType:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
