"""Traced programs: what is replaced in them, and when PyTorch's exporter traces them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils._pytree import tree_map

from dccnet.export.graphs import EncoderGraph, MatcherGraph
from dccnet.export.onnx_file import write_onnx
from dccnet.export.program import trace, unknown_operations
from dccnet.network.conv4d import EXPORT_LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.training.starts import count_votes
from tests.helpers.networks import PLAIN, build


class Graph(torch.nn.Module):
    """A function of a batch ``(B, 2, 6, 6)`` behind a convolution, as the exporter takes it."""

    input_names, output_names = ["x"], ["y"]

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 2, 1)
        self.function = function

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.function(self.conv(x)),)

    def example(self) -> dict[str, Tensor]:
        return {"x": torch.zeros(2, 2, 6, 6)}


def _traced(graph: Graph | EncoderGraph | MatcherGraph) -> ExportedProgram:
    shapes = tree_map(lambda _: {0: torch.export.Dim("batch")}, graph.example())
    with torch.no_grad():
        return trace(graph, shapes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backbone", "half"), [("resnet18", False), ("vgg16", True), ("efficientnet-lite0-hypercolumn", False)]
)
def test_encoders_are_not_traced_again(backbone: str, half: bool) -> None:
    network = DCCNet(PLAIN.replace(backbone=backbone))
    program = _traced(EncoderGraph(network.in_half() if half else network.folded(), fine=True))
    assert unknown_operations(program) == set() and program.run_decompositions({}) is program


@pytest.mark.parametrize("lowering", EXPORT_LOWERINGS)
def test_matchers_are_not_traced_again(lowering: str) -> None:
    network = build(PLAIN)
    count_votes(network.consensus, both_ways=False)  # kernels that separable takes, too
    network.lower(EXPORT_LOWERINGS[lowering])
    assert unknown_operations(_traced(MatcherGraph(network, heatmaps=True))) == set()


def test_matchers_with_all_maps_are_not_traced_again(small_model: DCCNet) -> None:
    assert unknown_operations(_traced(MatcherGraph(small_model, heatmaps=True, maps=True))) == set()


@pytest.mark.parametrize(
    ("function", "unknown"),
    [
        (lambda x: x.relu_().square().flatten(2).movedim(1, 2), set()),
        (
            lambda x: x.add_(1).flatten(0, 1).unflatten(0, (-1, 2)) + x.double().float(),
            set(),
        ),
        (lambda x: x + x.relu_(), set()),
        (lambda x: x[:, :1].relu_() + x[:, :1], {"aten.relu_.default"}),
        (
            lambda x: x.cumsum(1).logsumexp(2),
            {"aten.cumsum.default", "aten.logsumexp.default"},
        ),
    ],
    ids=["all replaced", "used again", "under two names", "through a view", "others"],
)
def test_what_is_written_computes_the_same(
    function: Callable[[Tensor], Tensor], unknown: set[str], tmp_path: Path
) -> None:
    graph = Graph(function)
    assert unknown_operations(_traced(graph)) == unknown
    write_onnx(graph, tmp_path / "g.onnx")  # type: ignore[arg-type]
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    (found,) = OnnxRuntimeGraph(tmp_path / "g.onnx").run({"x": x.numpy()}).values()
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), graph(x)[0])
