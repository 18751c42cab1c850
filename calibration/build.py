"""From a bundle to one with INT8 layers: an ordinary bundle, whose manifest says what it has in common with
the other."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from calibration.layers import Layer, find_layers, graphs_of
from calibration.loss import Exam
from calibration.quantise import Target, quantise
from calibration.table import CalibrationTable, write_table
from export.folder import check_replaceable, tool_versions
from export.readback import describe
from runtime.bundle import ENCODER, MATCHER, Bundle, Calibration, Graph, write_manifest
from runtime.errors import BundleError, NotVerifiedError, UsageError
from runtime.files import atomic_path, sha256
from runtime.matcher import Matcher
from runtime.onnx_runtime import OnnxRuntimeBackend, OnnxRuntimeGraph

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

    def graph(self, name: str, chosen: Collection[str]) -> onnx.ModelProto:
        """One graph with the layers of these names in INT8. Raises :class:`~runtime.errors.DataError`."""
        layers = [layer for layer in self.layers if layer.graph == name and layer.name in chosen]
        places = {t: layer for layer in layers for t in (layer.source, layer.result)}
        symmetric = self.target == "tensorrt"
        return quantise(
            self.models[name],
            layers,
            lambda tensor: self.table.range(places[tensor], tensor, self.method, symmetric=symmetric),
            self.target,
        )

    @contextmanager
    def matcher(self, chosen: Collection[str]) -> Iterator[Matcher]:
        """The network in ONNX Runtime, with the layers of these names in INT8."""
        runners = {}
        with tempfile.TemporaryDirectory() as scratch:
            for name in (ENCODER, MATCHER):
                path = self.bundle.graph_path(name)
                if name in self.models:
                    path = Path(scratch) / path.name
                    onnx.save(self.graph(name, chosen), str(path))
                runners[name] = OnnxRuntimeGraph(path)
            backend = OnnxRuntimeBackend(runners[ENCODER], runners[MATCHER], "ONNX Runtime (CPU)")
            yield Matcher(self.bundle.manifest, backend)


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
    counts = found.layers.get("convolution", {})
    floats = {dtype: count for dtype, count in counts.items() if dtype != "int8"}
    expected = dict(before.layers["convolution"])
    for dtype in expected:
        expected[dtype] -= wanted  # a bundle's convolutions share one type
    if counts.get("int8", 0) != wanted or floats != {k: v for k, v in expected.items() if v}:
        raise NotVerifiedError(
            f"{wanted} convolutions of the {name} were to be int8 and the graph has {counts}: nothing was "
            "written; please report this"
        )
