"""One path from a module to a checked ONNX file, and what can be read back from it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import torch
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype
from onnx_ir.passes import common as passes
from torch.utils._pytree import tree_map

from export.graphs import EncoderGraph, MatcherGraph
from runtime.bundle import Graph, TensorSpec
from runtime.errors import NotVerifiedError
from runtime.files import sha256

OPSET = 18
"""The newest that ONNX Runtime, OpenVINO and TensorRT have all read since 2023."""
BATCH = "batch"
MAX_RANK = 8  # TensorRT's limit
_FLOATS = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}


def write_onnx(graph: EncoderGraph | MatcherGraph, path: Path) -> Graph:
    """Export through ``torch.export``, check, write one self-contained file, and describe it.

    Only the batch is dynamic. Raises :class:`NotVerifiedError` where the graph breaks the promises
    of the bundle format.
    """
    example = graph.example()
    batch = torch.export.Dim(BATCH)
    shapes: Any = tree_map(lambda _: {0: batch}, example)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph,
            kwargs=example,
            dynamo=True,
            opset_version=OPSET,
            input_names=graph.input_names,
            output_names=graph.output_names,
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    tidy(program.model)
    onnx.save(program.model_proto, str(path))
    return describe(path)


def tidy(model: onnx_ir.Model) -> None:
    """Say everything once: what depends on weights alone is shared among all that uses it."""
    onnx_ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(),
        passes.DeduplicateInitializersPass(size_limit=1 << 20),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        # The exporter notes the stack trace of every node: paths of this machine, and half of the file.
        passes.ClearMetadataAndDocStringPass(),
    )(model)


def describe(path: Path) -> Graph:
    """Check a written ONNX file against the bundle format and read back what it is."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    for problem in _broken_promises(model):
        raise NotVerifiedError(f"{path.name}: {problem}")
    return Graph(
        file=path.name,
        sha256=sha256(path),
        opset=model.opset_import[0].version,
        precision=precision(model),
        inputs=tuple(map(_spec, model.graph.input)),
        outputs=tuple(map(_spec, model.graph.output)),
    )


def precision(model: onnx.ModelProto) -> str:
    """Float types of the weights that convolutions and matrix products use, as in the file."""
    types = {i.name: i.data_type for i in model.graph.initializer}
    used = {
        _FLOATS[types[name]]
        for node in model.graph.node
        for name in node.input
        if types.get(name) in _FLOATS and node.op_type in {"Conv", "MatMul", "Gemm"}
    }
    if not used:  # no weights of its own: the precision of what flows through
        used = {_FLOATS[v.type.tensor_type.elem_type] for v in model.graph.output if _is_float(v)}
    return "+".join(sorted(used))


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
            yield f"{value.name} has rank {rank}, and {MAX_RANK} is the most that engines take"


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = str(tensor_dtype_to_np_dtype(tensor.elem_type))
    return TensorSpec(value.name, dtype, tuple(d.dim_param or d.dim_value for d in tensor.shape.dim))


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type in _FLOATS


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns about its own internals; none of it is news."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
