"""The convolutions of a bundle that can be quantised, and their groups."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass

import onnx

from dccnet.calibration.groups import Level, backbone_group
from dccnet.runtime.manifest import ENCODER, MATCHER

BACKBONE, CONTEXT, CONSENSUS = "backbone", "context", "consensus"
PARTS = (BACKBONE, CONTEXT, CONSENSUS)
ACTIVATIONS = ("Relu", "Clip")

_PREFIXES = {
    "model.backbone.trunk.": (BACKBONE, "backbone"),
    "model.context_encoder.": (CONTEXT, "context"),
    "model.consensus.layers.": (CONSENSUS, "consensus"),
    "model.fusion.embedding.layers.": (CONSENSUS, "embedding"),
}
"""For prefixes of weights in the checkpoint: the part that they belong to, and the name of its groups."""
# Not the convolution of the attention, which feeds a softmax over two channels.


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution of a graph."""

    graph: str
    node: str
    """Name of the node in the graph."""
    part: str
    name: str
    """Place in the network: ``backbone.block2.expand.conv``."""
    weight: str
    """Tensor of the kernel: an initializer, or computed from initializers alone."""
    bias: str
    """Tensor of the bias; empty for a layer without bias."""
    depthwise: bool
    """Whether each channel has a kernel of its own."""
    source: str
    """Tensor of the input."""
    result: str
    """Tensor of the output, after the activation that follows, if there is one."""
    raw_result: str
    """Tensor of the output before an activation."""

    def group(self, level: Level) -> str:
        """Name of the stage, block or layer (by ``level``) that the layer belongs to."""
        if self.part != BACKBONE:
            return self.name
        return backbone_group(self.name.removeprefix("backbone."), level)


def find_layers(model: onnx.ModelProto, graph: str, parts: Collection[str]) -> list[Layer]:
    """The convolutions of ``parts`` in one graph of a bundle, in the order in which they run."""
    return [layer for layer in _convolutions(model, graph) if layer.part in parts]


def parts_of(names: Collection[str]) -> tuple[str, ...]:
    """The parts that the layers of these names belong to; unknown names belong to none."""
    heads = {called: part for part, called in _PREFIXES.values()}
    return tuple(dict.fromkeys(heads[head] for name in names if (head := name.split(".")[0]) in heads))


def graphs_of(parts: Collection[str]) -> tuple[str, ...]:
    """The graphs that contain these parts."""
    return (ENCODER, MATCHER) if CONSENSUS in parts else (ENCODER,)


def _convolutions(model: onnx.ModelProto, graph: str) -> Iterator[Layer]:
    makers = {name: node for node in model.graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    places: dict[str, tuple[str, str]] = {}
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        place = _place(node, makers, shapes, places)
        if (
            place is None
            and graph == MATCHER
            and not _origin(node.input[1], makers, shapes).startswith("model.")
        ):
            place = CONSENSUS, "consensus.0"  # the exporter has folded even its bias, which was zero
        if place is None:
            continue
        places[node.output[0]] = place
        followers = users.get(node.output[0], [])
        activated = len(followers) == 1 and followers[0].op_type in ACTIVATIONS
        yield Layer(
            graph=graph,
            node=node.name,
            part=place[0],
            name=place[1],
            weight=node.input[1],
            bias=node.input[2] if len(node.input) > 2 else "",
            depthwise=shapes.get(node.input[1], (0, 0))[1] == 1 and _groups(node) > 1,
            source=node.input[0],
            result=followers[0].output[0] if activated else node.output[0],
            raw_result=node.output[0],
        )


def _place(
    node: onnx.NodeProto,
    makers: Mapping[str, onnx.NodeProto],
    weights: Container[str],
    places: Mapping[str, tuple[str, str]],
) -> tuple[str, str] | None:
    """The part and the place in the network of a convolution, by the names of its weight and bias.

    Where the exporter has folded both (reshaped 4D kernels of small networks), the convolution is the layer
    after the one whose output it reads; ``places`` has the convolutions before it, by their output. None
    for other convolutions.
    """
    for name in node.input[1:]:
        origin = _origin(name, makers, weights)
        for prefix, (part, called) in _PREFIXES.items():
            if origin.startswith(prefix):
                return part, f"{called}.{origin.removeprefix(prefix).rpartition('.')[0]}"
        if origin.startswith("model."):
            return None
    before = _convolution_before(node, makers)
    if before in places:
        part, name = places[before]
        network, _, number = name.rpartition(".")
        return (part, f"{network}.{int(number) + 1}") if part == CONSENSUS else None
    return None


def _convolution_before(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The output of the nearest convolution before this one; empty where there is none."""
    pending: list[str] = [node.input[0]]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        maker = makers.get(name)
        if maker is None or name in seen:
            continue
        if maker.op_type == "Conv":
            return name
        seen.add(name)
        pending += maker.input
    return ""


def _origin(name: str, makers: Mapping[str, onnx.NodeProto], weights: Container[str]) -> str:
    """The weight of which a tensor is a padded or reshaped form; empty for other tensors."""
    while name not in weights:
        if name not in makers or not makers[name].input:
            return ""
        name = makers[name].input[0]
    return name


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
