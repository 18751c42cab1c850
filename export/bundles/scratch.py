"""ONNX Runtime for graphs that are in memory."""

from __future__ import annotations

import onnx

from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.runtime.scratch import temporary_folder


def open_graph(model: onnx.ModelProto, name: str = "graph") -> OnnxRuntimeGraph:
    """``model`` in ONNX Runtime on the CPU, through a file that is removed once it is loaded.

    ``name`` is the file's in error messages. Raises :class:`EngineError` as
    :class:`~dccnet.runtime.onnx_runtime.OnnxRuntimeGraph` does.
    """
    with temporary_folder() as scratch:
        path = scratch / f"{name}.onnx"
        onnx.save(model, str(path))
        return OnnxRuntimeGraph(path)
