"""Descriptions of the files that dcc reads and writes: bundles, engines, ONNX graphs, checkpoints."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.confidence import ConfidenceModel
from dccnet.runtime.errors import DccError, EngineError
from dccnet.runtime.extras import required
from dccnet.runtime.files import sha256
from dccnet.runtime.manifest import (
    Agreement,
    EngineComparison,
    EngineRecord,
    Graph,
    Manifest,
    TensorSpec,
)
from dccnet.runtime.reading import parse_json
from dccnet.runtime.tensorrt.gpu_record import describe_gpu
from dccnet.runtime.tensorrt.layers import EngineLayer
from dccnet.runtime.tensorrt.library import TITLES
from dccnet.runtime.tensorrt.plan import plan_header, read_plan, read_sidecar
from dccnet.runtime.tuning.kept import find

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
_LONGEST_HEADER = 100_000_000  # safetensors' own limit

Row = dict[str, Any]


@dataclass(slots=True)
class Description:
    """What ``dcc info`` says about a file. The rows of a table have the same keys."""

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)


def describe(path: Path) -> Description:
    """Describe a bundle, an engine, an ONNX graph or a checkpoint.

    Raises :class:`DccError` for files of other kinds and for damaged ones.
    """
    if not path.exists():
        raise DccError(f"{path} does not exist")
    if path.is_dir():
        return _bundle(path)
    if path.suffix in ENGINE_SUFFIXES:
        return _engine(path)
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.suffix == ".safetensors":
        return _checkpoint(path)
    if path.name.endswith((".pth.tar", ".pth", ".pt")):
        raise DccError(
            f"{path} is a pickle, which dcc info does not open: dcc import {path} -o OUT.safetensors"
        )
    known = ", ".join(("a bundle (a folder)", *ENGINE_SUFFIXES, ".onnx", ".safetensors"))
    raise DccError(f"dcc does not know what {path} is: it reads {known}")


def _bundle(path: Path) -> Description:
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    description = Description("bundle", _bundle_facts(manifest) | {"engines here": _tuning(bundle)})
    files: list[Graph | EngineRecord] = [*manifest.files, *manifest.engines]
    description.tables["files"] = [
        {
            "file": file.file,
            "MB": round((path / file.file).stat().st_size / 1e6, 2),
            "precision": file.precision,
        }
        for file in files
        if (path / file.file).is_file()
    ]
    description.tables["layers"] = [
        row for name, graph in manifest.graphs.items() for row in _counts(name, graph.layers)
    ]
    if manifest.engines:
        description.tables["engines"] = [_engine_row(record) for record in manifest.engines]
    if manifest.verification is not None and manifest.verification.ranges is not None:
        description.tables["tightest float16 tensors"] = [
            {"graph": r.graph, "tensor": r.tensor, "operator": r.operator, "largest": f"{r.largest:.4g}",
             "headroom": f"{r.headroom:.3g}"}
            for r in manifest.verification.ranges.tightest
        ]  # fmt: skip
    return description


def _bundle_facts(manifest: Manifest) -> Row:
    model, report, choice = manifest.model, manifest.verification, manifest.conv4d
    branches = model.get("branches")
    facts: Row = {
        "network": str(model.get("backbone", "unknown"))
        + (f", branches {' and '.join(map(str, branches))}" if isinstance(branches, list) else ""),
        "frames": f"{manifest.image_size[0]}x{manifest.image_size[1]} (height x width), {manifest.frame}",
        "grid": f"{manifest.grid[0]}x{manifest.grid[1]} cells",
        "precision": manifest.precision,
        "4D convolutions": ", also ".join((choice.lowering, *manifest.lowerings)),
        "heat maps": "fused, local, context" if manifest.maps else "fused" if manifest.heatmaps else "no",
        "verified": "not run",
    }
    if choice.seconds is not None:
        facts["4D timings"] = ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in choice.seconds.items())
    if report is not None:
        facts["verified"] = (
            "yes"
            if report.passed
            else "NO: it does not agree with PyTorch, or float16 has too little headroom"
        )
        facts["agreement"] = (
            f"{report.identical_cells:.2%} of {report.counted_cells:.1%} of the cells identical, scores "
            f"within {report.largest_score_difference:.1e}, on {report.pairs} pairs of "
            f"{', '.join(report.pictures)}"
        )
        if report.ranges is not None:
            facts["float16 headroom"] = (
                f"{report.ranges.headroom:.3g} times, at least {report.ranges.required_headroom:g} required"
            )
    if manifest.calibration is not None:
        made = manifest.calibration
        facts["INT8"] = (
            f"{len(made.layers)} layers, laid out for {made.target}; ranges by {made.method} on "
            f"{made.frames} frames"
        )
        facts["against no INT8"] = _agreement(made.agreement)
    if manifest.islands is not None:
        islands = manifest.islands
        facts["float16 steps"] = f"{len(islands.half)}, measured on {islands.frames} frames"
        facts["float32 islands"] = ", ".join(islands.whole) or "none"
        facts["headroom there"] = f"{islands.ranges.headroom:.3g} times"
        facts["against float32"] = _agreement(islands.agreement)
    facts["confidence"] = (
        "no (dcc confidence)" if manifest.confidence is None else manifest.confidence.meaning
    )
    if manifest.confidence is not None:
        facts["confidence from"] = _confidence(manifest.confidence)
    facts["made with"] = ", ".join(f"{name} {version}" for name, version in manifest.tools.items())
    return facts


def _tuning(bundle: Bundle) -> str:
    """What ``--backend auto`` runs the bundle in, as far as that was measured."""
    choice, stale = find(bundle)
    if choice is not None:
        return f"{choice.summary} (dcc tune)"
    return "not measured (dcc tune)" if stale is None else f"dcc tune's choice does not hold: {stale}"


def _confidence(fitted: ConfidenceModel) -> str:
    return (
        f"{fitted.points} matches of {fitted.pairs} pairs of {', '.join(fitted.fitted_on)} (truth: "
        f"{fitted.truth}), {fitted.right:.1%} of them right; by cross-validation AUROC "
        f"{fitted.quality.auroc:.3f}, calibration error {fitted.quality.calibration_error:.3f}"
    )


def _agreement(common: Agreement) -> str:
    text = (
        f"{1 - common.changed_cells:.2%} of the cells identical, matches {common.displacement:.2f} "
        f"pixels of the network's frames away on average, on {common.pairs} pairs"
    )
    if common.pck is not None and common.reference_pck is not None:
        text += f"; PCK {common.pck:.2f}, before {common.reference_pck:.2f}"
    return text


def _engine(path: Path) -> Description:
    sidecar = read_sidecar(path)
    content, _ = read_plan(path, trust=True)  # the engine is not loaded, only its hash is compared
    if sidecar is None:
        header = plan_header(content)
        if header is None:
            raise EngineError(
                f"{path} has no sidecar and no header that dcc knows: only the library that built it can "
                "read it"
            )
        facts = {
            "library": "TensorRT-RTX",
            "MB": round(len(content) / 1e6, 2),
            "sidecar": "missing",
        } | header
        return Description("engine", facts)
    record, layers = sidecar.engine, sidecar.layers
    facts = _engine_row(record) | {
        "tf32": record.tf32,
        "sha256": record.sha256,
        "from graph": record.onnx_sha256,
    }
    return Description(
        "engine",
        facts,
        {
            "inputs and outputs": _tensor_rows(record),
            "kernels": _counts(record.graph, record.layers),
            "largest kinds": _kernel_rows(layers),
        },
    )


def _engine_row(record: EngineRecord) -> Row:
    return {
        "engine": record.file,
        "library": f"{TITLES[record.library]} {record.version}",
        "targets": ", ".join(record.targets) or "default",
        "batch": ":".join(map(str, record.batch)),
        "precision": record.precision,
        "MB": round(record.bytes / 1e6, 2),
        "weights MB": _megabytes(record.weight_bytes),
        "activation MB": _megabytes(record.activation_bytes),
        "scratch MB": _megabytes(record.scratch_bytes),
        "build s": record.build_seconds,
        "built on": "any machine" if record.gpu is None else describe_gpu(record.gpu),
        "compared": _comparison(record.comparison),
        "chosen by": "" if record.times is None else f"{record.times.table} on {record.times.gpu.name}",
    }


def _comparison(found: EngineComparison | None) -> str:
    if found is None:
        return "not yet: at first use"
    verdict = "agrees" if found.passed else f"DISAGREES in {found.worst_tensor}"
    return (
        f"{verdict} on {describe_gpu(found.gpu)}: {found.identical_cells:.2%} of the best matches, scores "
        f"within {found.largest_score_difference:.1e}"
    )


def _megabytes(count: int | None) -> float | None:
    return None if count is None else round(count / 1e6, 2)


def _kernel_rows(layers: tuple[EngineLayer, ...]) -> list[Row]:
    counts = Counter((layer.kind, layer.precision, layer.outputs) for layer in layers)
    return [
        {"kind": kind, "reads": precision, "writes": ", ".join(outputs[:3]), "count": count}
        for (kind, precision, outputs), count in counts.most_common()
    ]


def _onnx(path: Path) -> Description:
    with required("reading an ONNX file", "export"):
        from dccnet.export.bundles.readback import describe_onnx
    try:
        graph = describe_onnx(path)
    except DccError:
        raise
    except Exception as error:  # onnx raises errors of its own and of protobuf
        first = str(error).partition("\n")[0]
        raise DccError(f"{path} is no ONNX graph that can be checked ({first}): export it again") from error
    facts = {"MB": round(path.stat().st_size / 1e6, 2), "opset": graph.opset, "precision": graph.precision}
    facts["sha256"] = graph.sha256
    tables = {"inputs and outputs": _tensor_rows(graph), "layers": _counts(path.stem, graph.layers)}
    return Description("ONNX graph", facts, tables)


def _checkpoint(path: Path) -> Description:
    header = _safetensors_header(path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or metadata.get("format") != "dccnet":
        raise DccError(
            f"{path} is a safetensors file, but its metadata does not say that it is a checkpoint of dcc"
        )
    try:
        config = parse_json(metadata["config"])
        dtypes = Counter(str(tensor["dtype"]) for tensor in header.values())
        if not isinstance(config, dict):
            raise ValueError("its configuration is no object")
    except (KeyError, TypeError, ValueError) as error:
        raise DccError(f"{path} is damaged ({error}): copy it again, or train again") from error
    facts = {
        "tensors": len(header),
        "types": ", ".join(f"{count} {dtype}" for dtype, count in dtypes.items()),
        "MB": round(path.stat().st_size / 1e6, 2),
        "sha256": sha256(path),
    }
    return Description("checkpoint", facts | {f"config.{name}": value for name, value in config.items()})


def _safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, read without its library: eight bytes of length, then JSON."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("its header is too long")
            header = parse_json(file.read(length))
            if not isinstance(header, dict):
                raise ValueError("its header is no object")
            return header
    except (struct.error, ValueError) as error:
        raise DccError(f"{path} is damaged ({error}): copy it again") from error


def _tensor_rows(holder: Graph | EngineRecord) -> list[Row]:
    def row(kind: str, spec: TensorSpec) -> Row:
        return {"": kind, "name": spec.name, "type": spec.dtype, "shape": " x ".join(map(str, spec.shape))}

    return [row("in", spec) for spec in holder.inputs] + [row("out", spec) for spec in holder.outputs]


def _counts(graph: str, layers: dict[str, dict[str, int]]) -> list[Row]:
    return [
        {"graph": graph, "layers": name, "precision": precision, "count": count}
        for name, counts in layers.items()
        for precision, count in counts.items()
    ]


def to_json(description: Description) -> str:
    return json.dumps(dataclasses.asdict(description), indent=2, default=str)
