"""What each group of layers costs in INT8, alone, and what it gains."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from calibration.build import Quantiser
from calibration.layers import Layer
from calibration.loss import Exam, Question
from runtime.bundle import Agreement
from runtime.matcher import Matcher

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that are quantised together or not at all."""

    name: str
    layers: tuple[str, ...]
    macs: int
    """Multiply-accumulates of one picture; of one pair for layers of the matcher."""
    bytes_saved: int
    """Of weights, in the file and in memory."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One group in INT8 and all others as they were."""

    group: Group
    agreement: Agreement
    seconds_saved: float
    """Of one pair in ONNX Runtime on this CPU; negative: it became slower."""


def find_groups(quantiser: Quantiser, level: str) -> list[Group]:
    """The candidates, in the order in which they run; a ``stage``, ``block`` or ``layer`` each."""
    costs = {name: _costs(model) for name, model in quantiser.models.items()}
    groups: dict[str, list[Layer]] = {}
    for layer in quantiser.layers:
        groups.setdefault(layer.group(level), []).append(layer)
    return [
        Group(
            name,
            tuple(dict.fromkeys(layer.name for layer in layers)),
            sum(costs[layer.graph][layer.node][0] for layer in layers),
            # a 4D kernel is used several times, and stored once
            sum({layer.weight: costs[layer.graph][layer.node][1] for layer in layers}.values()),
        )
        for name, layers in groups.items()
    ]


def measure(quantiser: Quantiser, group: Group, exam: Exam) -> Sensitivity:
    """The group in INT8 alone, against nothing in INT8."""
    with quantiser.matcher(()) as before, quantiser.matcher(group.layers) as after:
        return Sensitivity(group, exam.mark(after), seconds_saved(before, after, exam.questions[0]))


def seconds_saved(before: Matcher, after: Matcher, question: Question) -> float:
    """Of one pair, pictures to matches: the difference of two medians, measured in turns."""
    seconds: list[list[float]] = [[], []]
    for turn in range(ROUNDS + 1):
        for matcher, times in zip((before, after), seconds, strict=True):
            started = time.perf_counter()
            matcher.match(question.a, question.b)
            if turn:  # the first warms up
                times.append(time.perf_counter() - started)
    return float(np.median(seconds[0]) - np.median(seconds[1]))


def _costs(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """For each convolution its multiply-accumulates for a batch of one, and the bytes that INT8 saves."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        value.name: [side.dim_value or 1 for side in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    widths = {
        weight.name: 2 if weight.data_type == TensorProto.FLOAT16 else 4
        for weight in model.graph.initializer
    }
    shapes |= {weight.name: list(weight.dims) for weight in model.graph.initializer}
    costs = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = shapes.get(node.input[1], [0])
            places = math.prod(shapes.get(node.output[0], [0, 0])[2:])
            elements = math.prod(weight)
            costs[node.name] = (elements * places, elements * (widths.get(node.input[1], 4) - 1))
    return costs
