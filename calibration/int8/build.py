"""From a bundle to one with INT8 layers: an ordinary bundle, whose manifest says what it has in common with
the other."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from dccnet.calibration.candidates import open_changed
from dccnet.calibration.groups import Group, Level, multiply_accumulates, weight_widths
from dccnet.calibration.int8.layers import Layer, find_layers, graphs_of
from dccnet.calibration.int8.quantise import Target, quantise
from dccnet.calibration.int8.table import CalibrationTable, table_values, write_table
from dccnet.calibration.loss import Exam
from dccnet.export.bundles.folder import check_replaceable, tool_versions
from dccnet.export.bundles.readback import describe
from dccnet.runtime.bundle import Bundle, Calibration, Graph, write_manifest
from dccnet.runtime.errors import BundleError, NotVerifiedError, UsageError
from dccnet.runtime.files import atomic_path, sha256
from dccnet.runtime.matcher import Matcher

TABLE = "calibration.json"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Quantiser:
    """A bundle, opened for being quantised in various ways."""

    bundle: Bundle
    layers: tuple[Layer, ...]
    """That may be quantised."""
    table: CalibrationTable
    method: str
    target: Target
    models: dict[str, onnx.ModelProto]
    """The graphs that hold any of them, by name."""
    name: str = "INT8"

    def graph(self, name: str, chosen: Collection[str]) -> onnx.ModelProto:
        """One graph with the layers of these names in INT8. Raises :class:`DataError`."""
        layers = [layer for layer in self.layers if layer.graph == name and layer.name in chosen]
        places = {t: layer for layer in layers for t in (layer.source, layer.result)}
        symmetric = self.target == "tensorrt"
        return quantise(
            self.models[name],
            layers,
            lambda tensor: self.table.range(places[tensor], tensor, self.method, symmetric=symmetric),
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
                # a 4D kernel is used several times, and stored once
                sum({layer.weight: _saved(widths[layer.graph], layer.weight) for layer in layers}.values()),
            )
            for name, layers in groups.items()
        ]

    def plan_details(self, chosen: Collection[str]) -> dict[str, Any]:
        """What a plan's file says of INT8 in the layers of these names: enough to quantise them again."""
        layers = [layer for layer in self.layers if layer.name in chosen]
        tensors = {(layer.graph, tensor) for layer in layers for tensor in (layer.source, layer.result)}
        return {
            "precision": "int8",
            "method": self.method,
            "target": self.target,
            "made_from": {name: self.bundle.manifest.graphs[name].sha256 for name in self.models},
            "table": table_values(self.table.of(tensors)),
        }

    @contextmanager
    def matcher(self, chosen: Collection[str]) -> Iterator[Matcher]:
        with open_changed(self.bundle, {name: self.graph(name, chosen) for name in self.models}) as matcher:
            yield matcher


def _saved(widths: Mapping[str, tuple[int, int]], weight: str) -> int:
    """Bytes; of a weight that the graph computes from others, none that are in the file."""
    elements, width = widths.get(weight, (0, 1))
    return elements * (width - 1)


def open_layers(
    bundle: Bundle, parts: Collection[str], *, depthwise: bool = True
) -> tuple[dict[str, onnx.ModelProto], tuple[Layer, ...]]:
    """The graphs that ``parts`` are in, and their convolutions, the ``depthwise`` ones or not.

    Raises :class:`BundleError` for a bundle that is INT8 already, and :class:`UsageError` for parts that it
    does not have.
    """
    if bundle.manifest.calibration is not None:
        raise BundleError(f"{bundle.path} is INT8 already: calibrate the bundle that it was made from")
    if "consensus" in parts and bundle.manifest.conv4d.lowering != "stack":
        raise UsageError(
            f"the 4D convolutions of {bundle.path} are computed in frequencies, which INT8 cannot hold: "
            "export it with --conv4d stack, or leave --include consensus away"
        )
    models = {name: onnx.load(str(bundle.graph_path(name))) for name in graphs_of(parts)}
    layers = tuple(layer for name, model in models.items() for layer in find_layers(model, name, parts))
    for part in parts:
        if not any(layer.part == part for layer in layers):
            raise UsageError(f"{bundle.path} has no {part} to quantise: leave --include {part} away")
    return models, tuple(layer for layer in layers if depthwise or not layer.depthwise)


def write_quantised(
    quantiser: Quantiser,
    chosen: Collection[str],
    path: Path,
    exam: Exam,
) -> Bundle:
    """Write the bundle with the layers of these names in INT8, read back, and compared with what it was.

    It appears whole or not at all; a bundle at ``path`` is replaced. Raises :class:`UsageError` for
    anything else there, and :class:`NotVerifiedError` where the written graphs are not what was asked for.
    """
    check_replaceable(path)
    source, manifest = quantiser.bundle, quantiser.bundle.manifest
    with atomic_path(path) as temporary:
        temporary.mkdir()
        graphs: dict[str, Graph] = {}
        for name, graph in manifest.graphs.items():
            written = temporary / graph.file
            if name in quantiser.models:
                onnx.save(quantiser.graph(name, chosen), str(written))
                graphs[name] = describe(written)
                wanted = sum(layer.graph == name and layer.name in chosen for layer in quantiser.layers)
                _check(name, graphs[name], graph, wanted)
            else:
                shutil.copyfile(source.graph_path(name), written)
                graphs[name] = graph
        write_table(temporary / TABLE, quantiser.table)
        opened = Bundle(temporary, dataclasses.replace(manifest, graphs=graphs))
        matcher = Matcher.open(opened, backend="onnxruntime", device="cpu")
        calibration = Calibration(
            method=quantiser.method,
            target=quantiser.target,
            frames=len(quantiser.table.frames),
            table=TABLE,
            table_sha256=sha256(temporary / TABLE),
            made_from={name: manifest.graphs[name].sha256 for name in quantiser.models},
            layers=tuple(dict.fromkeys(layer.name for layer in quantiser.layers if layer.name in chosen)),
            agreement=exam.mark(matcher),
        )
        manifest = dataclasses.replace(
            manifest,
            precision=f"{manifest.precision}+int8",
            graphs=graphs,
            engines=(),
            tools=manifest.tools | tool_versions(),
            calibration=calibration,
        )
        write_manifest(temporary, manifest)
    return Bundle(path, manifest)


def _check(name: str, found: Graph, before: Graph, wanted: int) -> None:
    """That just the layers that were chosen are in bytes, and nothing else has changed its type."""
    counts, were = found.layers.get("convolution", {}), before.layers["convolution"]
    kept = all(count <= were.get(dtype, 0) for dtype, count in counts.items() if dtype != "int8")
    if not kept or counts.get("int8", 0) != wanted or sum(counts.values()) != sum(were.values()):
        raise NotVerifiedError(
            f"{wanted} convolutions of the {name} were to be int8 and the graph has {counts}: nothing was "
            "written; please report this"
        )
