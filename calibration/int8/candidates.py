"""The convolutions of a bundle that can become INT8."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from dccnet.calibration.candidates import open_changed
from dccnet.calibration.groups import Group, Level, multiply_accumulates, weight_widths
from dccnet.calibration.int8.layers import Layer, find_layers, graphs_of
from dccnet.calibration.int8.quantise import quantise
from dccnet.calibration.int8.table import CalibrationTable, table_values
from dccnet.calibration.settings import Method, Target
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import BundleError, UsageError
from dccnet.runtime.matcher import Matcher


@dataclass(frozen=True, slots=True, eq=False)
class Int8Candidates:
    """Convolutions of a bundle, with the ranges to quantise them with."""

    bundle: Bundle
    layers: tuple[Layer, ...]
    """Layers that can be quantised."""
    table: CalibrationTable
    method: Method
    target: Target
    models: dict[str, onnx.ModelProto]
    """The graphs that contain any of the layers, by name."""
    name: str = "INT8"

    def graph(self, name: str, chosen: Collection[str]) -> onnx.ModelProto:
        """One graph with the layers of these names in INT8. Raises :class:`DataError`."""
        layers = [layer for layer in self.layers if layer.graph == name and layer.name in chosen]
        owners = {tensor: layer for layer in layers for tensor in (layer.source, layer.result)}
        symmetric = self.target == "tensorrt"
        return quantise(
            self.models[name],
            layers,
            lambda tensor: self.table.range(owners[tensor], tensor, self.method, symmetric=symmetric),
            self.target,
        )

    def groups(self, level: Level) -> list[Group]:
        macs = {name: multiply_accumulates(model) for name, model in self.models.items()}
        widths = {name: weight_widths(model) for name, model in self.models.items()}
        groups: dict[str, list[Layer]] = {}
        for layer in self.layers:
            groups.setdefault(layer.group(level), []).append(layer)
        return [
            Group(
                name,
                tuple(dict.fromkeys(layer.name for layer in layers)),
                sum(macs[layer.graph].get(layer.node, 0) for layer in layers),
                # A 4D kernel is used several times, and stored once.
                sum({layer.weight: _saved(widths[layer.graph], layer.weight) for layer in layers}.values()),
            )
            for name, layers in groups.items()
        ]

    def plan_details(self, chosen: Collection[str]) -> dict[str, Any]:
        """Fields of the plan file that only INT8 has: enough to quantise the same layers again."""
        layers = [layer for layer in self.layers if layer.name in chosen]
        tensors = {(layer.graph, tensor) for layer in layers for tensor in (layer.source, layer.result)}
        return {
            "precision": "int8",
            "method": self.method,
            "target": self.target,
            "made_from": {name: self.bundle.manifest.graphs[name].sha256 for name in self.models},
            "table": table_values(self.table.restricted_to(tensors)),
        }

    def matcher(self, chosen: Collection[str]) -> Matcher:
        """The network with the layers of these names in INT8. Raises :class:`DataError`."""
        return open_changed(self.bundle, {name: self.graph(name, chosen) for name in self.models})


def open_layers(
    bundle: Bundle, parts: Collection[str], *, depthwise: bool = True
) -> tuple[dict[str, onnx.ModelProto], tuple[Layer, ...]]:
    """The graphs that contain ``parts``, and their convolutions, with or without ``depthwise`` ones.

    Raises :class:`BundleError` for a bundle that is INT8 already, and :class:`UsageError` for parts that it
    does not have.
    """
    if bundle.manifest.calibration is not None:
        raise BundleError(f"{bundle.path} is INT8 already: calibrate the bundle that it was made from")
    if "consensus" in parts and bundle.manifest.conv4d.lowering != "stack":
        raise UsageError(
            f"the 4D convolutions of {bundle.path} are computed by spectra, which INT8 cannot represent: "
            "export it with --conv4d stack, or quantise it without consensus"
        )
    models = {name: onnx.load(str(bundle.graph_path(name))) for name in graphs_of(parts)}
    layers = tuple(layer for name, model in models.items() for layer in find_layers(model, name, parts))
    for part in parts:
        if not any(layer.part == part for layer in layers):
            raise UsageError(f"{bundle.path} has no {part} to quantise: remove --include {part}")
    return models, tuple(layer for layer in layers if depthwise or not layer.depthwise)


def _saved(widths: Mapping[str, tuple[int, int]], weight: str) -> int:
    """Bytes saved; none for a weight that the graph computes from others, which is not in the file."""
    elements, width = widths.get(weight, (0, 1))
    return elements * (width - 1)
