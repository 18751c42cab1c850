"""Traces a graph into a program whose operations PyTorch's exporter translates as they are.

The exporter traces every program a second time, to decompose the operations that have no form in ONNX. Of
those, this network has a few only. They are replaced here, node by node, and the second trace is left out
unless an operation remains that is not known to need none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from dccnet.export.graphs import EncoderGraph, MatcherGraph

aten = torch.ops.aten
KNOWN: set[Any] = {
    aten._to_copy.default,
    aten.add.Tensor,
    aten.amax.default,
    aten.arange.default,
    aten.argmax.default,
    aten.bitwise_or.Tensor,
    aten.cat.default,
    aten.chunk.default,
    aten.clamp.default,
    aten.conv2d.default,
    aten.div.Tensor,
    aten.exp.default,
    aten.expand.default,
    aten.flip.default,
    aten.full.default,
    aten.gather.default,
    aten.ge.Scalar,
    aten.hardtanh.default,
    aten.index.Tensor,
    aten.index_select.default,
    aten.log.default,
    aten.lt.Scalar,
    aten.masked_fill.Scalar,
    aten.matmul.default,
    aten.max_pool2d.default,
    aten.maximum.default,
    aten.mean.dim,
    aten.mm.default,
    aten.mul.Tensor,
    aten.neg.default,
    aten.pad.default,
    aten.permute.default,
    aten.pow.Tensor_Scalar,
    aten.reciprocal.default,
    aten.relu.default,
    aten.reshape.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.softmax.int,
    aten.sqrt.default,
    aten.squeeze.dim,
    aten.stack.default,
    aten.sub.Tensor,
    aten.sum.dim_IntList,
    aten.sym_size.int,
    aten.transpose.int,
    aten.unbind.int,
    aten.unsqueeze.default,
    aten.upsample_bilinear2d.vec,
    aten.zeros_like.default,
}
"""Operations that the exporter translates itself, and that change none of their inputs."""
_COPIES: set[Any] = {aten.contiguous.default, aten.detach_.default, aten.lift_fresh_copy.default}
_CASTS: set[Any] = {aten.to.device, aten.to.dtype}
_RESHAPES: set[Any] = {aten.flatten.using_ints, aten.reshape.default, aten.unflatten.int, aten.view.default}
_IN_PLACE: dict[Any, Any] = {aten.add_.Tensor: aten.add.Tensor, aten.relu_.default: aten.relu.default}
_FRESH: set[Any] = {aten.add.Tensor, aten.conv2d.default, aten.relu.default}
"""Operations whose results share no memory with other tensors."""


def trace(graph: EncoderGraph | MatcherGraph, shapes: dict[str, Any]) -> ExportedProgram:
    """The program of ``graph``; ``shapes`` are the dynamic axes of its inputs."""
    program = torch.export.export(graph, (), graph.example(), dynamic_shapes=shapes, strict=False)
    for node in list(program.graph.nodes):
        if node.op == "call_function":
            _replace(node, program)
    program.graph_module.recompile()
    if not unknown_operations(program):
        program.run_decompositions = lambda *_: program
    return program


def unknown_operations(program: ExportedProgram) -> set[str]:
    """Names of the operations on tensors in ``program`` that are not among :data:`KNOWN`."""
    called = {node.target for node in program.graph.nodes if node.op == "call_function"}
    return {str(target) for target in called - KNOWN if isinstance(target, torch._ops.OpOverload)}


def _replace(node: Node, program: ExportedProgram) -> None:
    """Give ``node`` an equal operation among :data:`KNOWN`, if it needs one and there is one here."""
    target: Any = node.target
    value: Any = node.meta.get("val")
    source: Any = node.args[0] if node.args else None
    if target is aten._assert_tensor_metadata.default:  # the types that were traced
        program.graph.erase_node(node)
    elif target in _COPIES or (target in _CASTS and value.dtype == source.meta["val"].dtype):
        node.replace_all_uses_with(source)
        program.graph_signature.replace_all_uses(node.name, source.name)
        program.graph.erase_node(node)
    elif target in _CASTS:
        _set(node, aten._to_copy.default, source, dtype=value.dtype)
    elif target in _RESHAPES and _unknown_sides(value) <= 1:
        _set(node, aten.reshape.default, source, [n if isinstance(n, int) else -1 for n in value.shape])
    elif target is aten.square.default:
        _set(node, aten.pow.Tensor_Scalar, source, 2)
    elif target is aten.__or__.Tensor:
        node.target = aten.bitwise_or.Tensor
    elif target in (aten.movedim.int, aten.movedim.intlist):
        _set(node, aten.permute.default, source, _order(value.dim(), *node.args[1:]))
    elif target in _IN_PLACE and source.target in _FRESH and len(source.users) == 1:
        node.target = _IN_PLACE[target]


def _set(node: Node, target: Any, *arguments: Any, **keywords: Any) -> None:
    node.target, node.args, node.kwargs = target, arguments, keywords


def _unknown_sides(x: torch.Tensor) -> int:
    return sum(not isinstance(side, int) for side in x.shape)


def _order(rank: int, source: Any, destination: Any) -> list[int]:
    """The axes of a tensor, in the order in which ``movedim`` leaves them."""
    sides = torch.empty(tuple(range(rank)), device="meta")
    return list(sides.movedim(source, destination).shape)
