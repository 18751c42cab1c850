"""From a PyTorch module to a checked ONNX file."""

from __future__ import annotations

import ast
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
from onnx_ir.passes import common as passes
from torch.utils._pytree import tree_map

from dccnet.export.bundles.readback import BATCH, describe_onnx
from dccnet.export.bundles.steps import OUTSIDE, STEP
from dccnet.export.graphs import EncoderGraph, MatcherGraph
from dccnet.export.program import trace
from dccnet.runtime.garbage import no_garbage_collection
from dccnet.runtime.manifest import Graph

OPSET = 18
"""The newest opset that ONNX Runtime, OpenVINO and TensorRT have all supported since 2023."""


def write_onnx(graph: EncoderGraph | MatcherGraph, path: Path) -> Graph:
    """:func:`save_onnx`, and check the file and describe it.

    Raises :class:`NotVerifiedError` where the written graph breaks a promise of the bundle format.
    """
    save_onnx(graph, path)
    return describe_onnx(path)


def save_onnx(graph: EncoderGraph | MatcherGraph, path: Path) -> None:
    """Export ``graph`` through ``torch.export`` to one self-contained file. Only the batch is dynamic."""
    shapes: Any = tree_map(lambda _: {0: torch.export.Dim(BATCH)}, graph.example())
    with torch.no_grad(), _quiet(), no_garbage_collection():
        program = torch.onnx.export(
            trace(graph, shapes),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            input_names=graph.input_names,
            output_names=graph.output_names,
            verbose=False,
            dynamo=True,
        )
    assert program is not None
    tidy(program.model)
    onnx.save(program.model_proto, str(path))


def tidy(model: onnx_ir.Model) -> None:
    """Merge duplicate computations, such as the spectrum of a kernel that is used twice, in place.

    Also marks nodes with the step of the network that they belong to
    (:mod:`dccnet.export.bundles.steps`), and removes the exporter's other metadata.
    """
    onnx_ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(),
        passes.DeduplicateInitializersPass(size_limit=1 << 20),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
    )(model)
    steps = {node: _step(node) for node in model.graph}
    # The exporter stores the stack trace of every node: paths of this machine, and half of the file.
    passes.ClearMetadataAndDocStringPass()(model)
    for node, step in steps.items():
        if step:
            node.metadata_props[STEP] = step


def _step(node: onnx_ir.Node) -> str:
    """The module that a node comes from, such as ``backbone.trunk.stem.conv``; empty for nodes that the
    exporter added."""
    scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
    if scopes is None:
        return ""
    *modules, _ = ast.literal_eval(scopes)
    return str(modules[-1]).removeprefix("model.") or OUTSIDE


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's progress output and its warnings about its own internals."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
