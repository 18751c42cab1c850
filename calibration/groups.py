"""Groups of layers that are changed together, and the amount of arithmetic in them."""

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
    """Layers (for half precision, steps) of the network that are changed together."""

    name: str
    layers: tuple[str, ...]
    macs: int
    """Multiply-accumulates for one picture or, in the matcher, for one pair."""
    bytes_saved: int
    """Bytes of weights saved in the file and in memory."""


def backbone_group(place: str, level: Level) -> str:
    """The name of the group that a layer of the backbone belongs to.

    ``place`` is the layer's name in the backbone: ``layer3.2.conv1`` is in the block ``backbone.layer3.2``.
    """
    head, *rest = place.split(".")
    if level == "layer" or head == "features":  # VGG has no blocks
        return f"backbone.{place}"
    if re.fullmatch(r"layer\d+", head) and level == "block" and rest:  # torchvision's ResNets
        return f"backbone.{head}.{rest[0]}"
    return f"backbone.{head}"


def multiply_accumulates(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates of each convolution and matrix product, by the node's name, for a batch of
    one."""
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
    """For each weight, the number of elements and the number of bytes of each element."""
    return {
        weight.name: (math.prod(weight.dims), 2 if weight.data_type == TensorProto.FLOAT16 else 4)
        for weight in model.graph.initializer
    }
