"""Checks and describes written ONNX files: the promises of the format, the precision of each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.files import sha256
from dccnet.runtime.manifest import Graph, TensorSpec

BATCH = "batch"
MAX_RANK = 8  # TensorRT's limit
CONVOLUTION, MATRIX_PRODUCT, ON_WEIGHTS = "convolution", "matrix product", "on weights alone"
LAYER_CLASSES = {
    "Conv": CONVOLUTION,
    "MatMul": MATRIX_PRODUCT,
    "Gemm": MATRIX_PRODUCT,
    "Softmax": "softmax",
    **dict.fromkeys(("ReduceMax", "ReduceSum", "ReduceMean", "ArgMax"), "reduction"),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Sqrt"), "arithmetic"),
    **dict.fromkeys(("Relu", "Clip", "BatchNormalization"), "activation"),
    **dict.fromkeys(("MaxPool", "AveragePool"), "pooling"),
}
"""Class of layer by ONNX operator. Operators that only move values have no precision of their own."""
_BYTES = (TensorProto.INT8, TensorProto.UINT8)
FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}


def describe_onnx(path: Path) -> Graph:
    """Check an ONNX file against the bundle format and describe it as the manifest does.

    Raises :class:`NotVerifiedError` where the graph breaks a promise of the format, and errors of ``onnx``
    where it is no valid graph.
    """
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    for problem in _broken_promises(model):
        raise NotVerifiedError(f"{path.name}: {problem}")
    layers = layer_precisions(model)
    return Graph(
        file=path.name,
        sha256=sha256(path),
        opset=model.opset_import[0].version,
        precision=overall_precision(layers),
        layers=layers,
        inputs=tuple(map(_spec, model.graph.input)),
        outputs=tuple(map(_spec, model.graph.output)),
    )


def layer_precisions(model: onnx.ModelProto) -> dict[str, dict[str, int]]:
    """Number of layers by class and precision; ``model`` has inferred shapes.

    A convolution or matrix product is ``int8`` where both of its factors are dequantised INT8 or UINT8.
    Nodes that depend on weights alone (the spectra of kernels) are a class of their own: engines may
    compute them once and for all, and their precision is not that of the features.
    """
    types = tensor_types(model)
    from_inputs = input_dependent_tensors(model)
    from_bytes = _dequantised(model, types)
    counts: dict[str, Counter[str]] = {}
    for node in model.graph.node:
        if node.op_type not in LAYER_CLASSES:
            continue
        floats = [FLOATS[types[name]] for name in node.input if types.get(name) in FLOATS]
        if floats:
            on_weights = node.output[0] not in from_inputs
            name = ON_WEIGHTS if on_weights else LAYER_CLASSES[node.op_type]
            in_bytes = name in (CONVOLUTION, MATRIX_PRODUCT) and from_bytes.issuperset(node.input[:2])
            counts.setdefault(name, Counter())["int8" if in_bytes else floats[0]] += 1
    return {name: dict(sorted(counts[name].items())) for name in sorted(counts)}


def overall_precision(layers: dict[str, dict[str, int]]) -> str:
    """Precision of the convolutions and matrix products: ``float16``, ``float32``, ``int8``, or several
    joined by ``+``."""
    used = {dtype for name in (CONVOLUTION, MATRIX_PRODUCT) for dtype in layers.get(name, {})}
    return "+".join(sorted(used))


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type (of ``TensorProto``) of every tensor; ``model`` has inferred shapes."""
    graph = model.graph
    types = {i.name: i.data_type for i in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def _dequantised(model: onnx.ModelProto, types: dict[str, int]) -> set[str]:
    return {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and types.get(node.input[0]) in _BYTES
    }


def input_dependent_tensors(model: onnx.ModelProto) -> set[str]:
    """Tensors that depend on the graph's inputs; all others can be computed once and for all."""
    reached = {value.name for value in model.graph.input}
    for node in model.graph.node:  # in topological order, as ONNX requires
        # A shape depends on the size of the input, not on its values.
        if node.op_type != "Shape" and reached.intersection(node.input):
            reached.update(node.output)
    return reached


def _broken_promises(model: onnx.ModelProto) -> Iterator[str]:
    foreign = {n.domain for n in model.graph.node if n.domain not in ("", "ai.onnx")}
    if foreign or any(o.domain not in ("", "ai.onnx") for o in model.opset_import):
        yield f"uses operators outside the ONNX standard: {', '.join(sorted(foreign))}"
    weights = {i.name: len(i.dims) for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and weights.get(node.input[1], 0) > 5:
            yield f"{node.name} is a convolution of more than 3 dimensions"
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.shape.dim[0].dim_param != BATCH:
            yield f"the batch of {value.name} is fixed"
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        rank = len(value.type.tensor_type.shape.dim)
        if rank > MAX_RANK:
            yield f"{value.name} has rank {rank}, and engines take at most {MAX_RANK}"


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = str(tensor_dtype_to_np_dtype(tensor.elem_type))
    return TensorSpec(value.name, dtype, tuple(d.dim_param or d.dim_value for d in tensor.shape.dim))
