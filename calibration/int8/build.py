"""Writes bundles with INT8 layers, with their agreement with the original bundle in the manifest."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection
from pathlib import Path

import onnx

from dccnet.calibration.agreement import AgreementTest
from dccnet.calibration.int8.candidates import Int8Candidates
from dccnet.calibration.int8.table import write_table
from dccnet.export.bundles.folder import check_replaceable, tool_versions
from dccnet.export.bundles.readback import describe_onnx
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.files import atomic_path, sha256
from dccnet.runtime.manifest import Calibration, Graph
from dccnet.runtime.matcher import Matcher

TABLE = "calibration.json"


def write_int8_bundle(
    candidates: Int8Candidates, chosen: Collection[str], path: Path, test: AgreementTest
) -> Bundle:
    """Write the bundle with the layers of these names in INT8, and its agreement with the original.

    The written graphs are read back. The bundle is written completely or not at all; a bundle at ``path``
    is replaced. Raises :class:`UsageError` where ``path`` is anything else, and :class:`NotVerifiedError`
    where other layers than the chosen ones are INT8 in the written graphs.
    """
    check_replaceable(path)
    source, manifest = candidates.bundle, candidates.bundle.manifest
    with atomic_path(path) as temporary:
        temporary.mkdir()
        graphs: dict[str, Graph] = {}
        for name, graph in manifest.graphs.items():
            written = temporary / graph.file
            if name in candidates.models:
                onnx.save(candidates.graph(name, chosen), str(written))
                graphs[name] = describe_onnx(written)
                wanted = sum(layer.graph == name and layer.name in chosen for layer in candidates.layers)
                _check(name, graphs[name], graph, wanted)
            else:
                shutil.copyfile(source.graph_path(name), written)
                graphs[name] = graph
        write_table(temporary / TABLE, candidates.table)
        opened = Bundle(temporary, dataclasses.replace(manifest, graphs=graphs))
        matcher = Matcher.open(opened, backend="onnxruntime", device="cpu")
        calibration = Calibration(
            method=candidates.method,
            target=candidates.target,
            frames=len(candidates.table.frames),
            table=TABLE,
            table_sha256=sha256(temporary / TABLE),
            made_from={name: manifest.graphs[name].sha256 for name in candidates.models},
            layers=tuple(dict.fromkeys(layer.name for layer in candidates.layers if layer.name in chosen)),
            agreement=test.measure(matcher),
        )
        manifest = dataclasses.replace(
            manifest,
            precision=f"{manifest.precision}+int8",
            graphs=graphs,
            lowerings={},
            engines=(),
            confidence=None,  # of other matches
            tools=manifest.tools | tool_versions(),
            calibration=calibration,
        )
        write_manifest(temporary, manifest)
    return Bundle(path, manifest)


def _check(name: str, written: Graph, before: Graph, wanted: int) -> None:
    """Check that ``wanted`` convolutions are INT8 and that all others have kept their precision."""
    counts, were = written.layers.get("convolution", {}), before.layers["convolution"]
    kept = all(count <= were.get(dtype, 0) for dtype, count in counts.items() if dtype != "int8")
    if not kept or counts.get("int8", 0) != wanted or sum(counts.values()) != sum(were.values()):
        raise NotVerifiedError(
            f"{wanted} convolutions of the {name} were to be int8 and the graph has {counts}: nothing was "
            "written; please report this"
        )
