"""PyTorch in the place of TensorRT: a network as an engine, for GPUs on machines without TensorRT.

The classes have the methods of TensorRT's Python API that ``runtime/tensorrt/runner.py`` calls. They
enqueue work on the stream that they are given, read and write the addresses that they are given, and can be
captured in a CUDA graph.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from dccnet.export.graphs import EncoderGraph, MatcherGraph
from dccnet.network.model import DCCNet
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.tensorrt.opening import Plan


class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = range(2)


class Logger:
    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        pass


class TorchEngines:
    """The module ``tensorrt``: a plan is a graph's name, and its engine is the graph's PyTorch module."""

    ILogger = Logger
    TensorIOMode = TensorIOMode

    def __init__(self, graphs: Mapping[str, Any], device: torch.device) -> None:
        self.graphs, self.device = graphs, device
        self.runs = 0

    def Runtime(self, logger: Any) -> Any:  # noqa: N802 (TensorRT's name)
        return SimpleNamespace(
            deserialize_cuda_engine=lambda plan: TorchEngine(self, self.graphs[bytes(plan).decode()])
        )

    @staticmethod
    def nptype(dtype: Any) -> Any:
        return dtype


class TorchEngine:
    """An engine of one graph."""

    def __init__(self, library: TorchEngines, graph: Any) -> None:
        self.library, self.graph = library, graph
        example: dict[str, torch.Tensor] = {}
        for name, value in graph.example().items():
            tensors = (
                {f"{branch}_{name}": t for branch, t in value.items()} if isinstance(value, dict) else {}
            )
            example |= tensors or {name: value}
        self.inputs = {name: tensor[:1].to(library.device) for name, tensor in example.items()}
        with torch.no_grad():
            self.outputs = dict(zip(graph.output_names, self.compute(self.inputs), strict=True))
        self.names = [*self.inputs, *self.outputs]
        self.num_io_tensors = len(self.names)

    def compute(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        if "frame" in inputs:
            outputs: tuple[torch.Tensor, ...] = self.graph(inputs["frame"])
            return outputs
        a, b = ({n[:-2]: t for n, t in inputs.items() if n.endswith(f"_{side}")} for side in "ab")
        matched: tuple[torch.Tensor, ...] = self.graph(a, b)
        return matched

    def tensor(self, name: str) -> torch.Tensor:
        return self.inputs[name] if name in self.inputs else self.outputs[name]

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.tensor(name).shape[1:])

    def get_tensor_dtype(self, name: str) -> Any:
        return np.dtype(str(self.tensor(name).dtype).removeprefix("torch."))

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(self.tensor(name).shape)] * 3

    def create_execution_context(self) -> TorchContext:
        return TorchContext(self)


class TorchContext:
    """Runs an engine on tensors at the addresses that it is given."""

    def __init__(self, engine: TorchEngine) -> None:
        self.engine = engine
        self.views: dict[str, torch.Tensor] = {}
        # Memory of its own: a captured graph writes to it at every replay, so nobody else may use it.
        self.pool = torch.cuda.MemPool()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        return shape[0] == 1

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.views[name] = tensor_at(address, self.engine.tensor(name))
        return self.views[name].data_ptr() == address

    def execute_async_v3(self, stream: int) -> bool:
        self.engine.library.runs += 1
        given = torch.cuda.ExternalStream(stream)
        with torch.no_grad(), torch.cuda.stream(given), torch.cuda.use_mem_pool(self.pool):
            outputs = self.engine.compute({name: self.views[name] for name in self.engine.inputs})
            for name, value in zip(self.engine.graph.output_names, outputs, strict=True):
                self.views[name].copy_(value)
        return True


def warm_up_thread() -> None:
    """Let PyTorch create this thread's cuDNN handle, whose memory cannot be allocated during a capture."""
    x = torch.ones(1, 3, 8, 8, device="cuda")
    for dtype in (torch.float32, torch.float16):
        torch.nn.functional.conv2d(x.to(dtype), torch.ones(3, 3, 3, 3, device="cuda", dtype=dtype))
    torch.cuda.synchronize()


def tensor_at(address: int, like: torch.Tensor) -> torch.Tensor:
    """Memory of the GPU as a PyTorch tensor of the shape and type of ``like``; nothing is copied."""
    interface = {
        "shape": tuple(like.shape),
        "typestr": np.dtype(str(like.dtype).removeprefix("torch.")).str,
        "data": (address, False),
        "strides": None,
        "version": 2,
    }
    return torch.as_tensor(SimpleNamespace(__cuda_array_interface__=interface), device=like.device)


def torch_library(model: DCCNet) -> tuple[Library, TorchEngines, list[Plan]]:
    """A library whose engines are the graphs of ``model``, and their plans: encoder, matcher."""
    graphs = {"encoder": EncoderGraph(model), "matcher": MatcherGraph(model, heatmaps=False)}
    engines = TorchEngines(graphs, torch.device("cuda"))
    plans = [Plan(Path(f"{name}.engine"), name.encode(), None) for name in graphs]
    return Library("tensorrt", "played by PyTorch", engines), engines, plans
