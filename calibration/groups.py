"""What is changed together or not at all: groups of layers or steps, and how much arithmetic they are."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

import onnx
from onnx import TensorProto

Level = Literal["stage", "block", "layer"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class Group:
    """Layers or steps of the network that are changed together or not at all."""

    name: str
    layers: tuple[str, ...]
    macs: int
    """Multiply-accumulates of one picture; of one pair for what is in the matcher."""
    bytes_saved: int
    """Of weights, in the file and in memory."""


def backbone_group(place: str, level: Level) -> str:
    """``layer3.2.conv1``, a place in the backbone -> the name of the group that it is in."""
    head, *rest = place.split(".")
    if level == "layer" or head == "features":  # VGG has no blocks
        return f"backbone.{place}"
    if re.fullmatch(r"layer\d+", head) and level == "block" and rest:  # torchvision's ResNets
        return f"backbone.{head}.{rest[0]}"
    return f"backbone.{head}"


def multiply_accumulates(model: onnx.ModelProto) -> dict[str, int]:
    """Of each convolution and matrix product, by the node's name, for a batch of one."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        value.name: [side.dim_value or 1 for side in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    }
    shapes |= {weight.name: list(weight.dims) for weight in model.graph.initializer}
    counts = {}
    for node in model.graph.node:
        result = shapes.get(node.output[0], [])
        if node.op_type == "Conv":
            counts[node.name] = math.prod(shapes.get(node.input[1], [0])) * math.prod(result[2:])
        elif node.op_type == "MatMul":
            counts[node.name] = math.prod(result) * shapes.get(node.input[0], [0])[-1]
    return counts


def weight_widths(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """Elements of each weight, and bytes of each of them."""
    return {
        weight.name: (math.prod(weight.dims), 2 if weight.data_type == TensorProto.FLOAT16 else 4)
        for weight in model.graph.initializer
    }
