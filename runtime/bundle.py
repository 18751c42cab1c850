"""The bundle: a directory with a manifest and ONNX graphs that can be copied to another machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.runtime.errors import BundleError
from dccnet.runtime.files import sha256, write_text
from dccnet.runtime.geometry import Size

SCHEMA = 3
MANIFEST = "manifest.json"
ENCODER, MATCHER = "encoder", "matcher"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    name: str
    dtype: str
    """numpy's name, such as ``float32``."""
    shape: tuple[int | str, ...]
    """A string is a dynamic dimension; only ``batch`` occurs."""


@dataclass(frozen=True, slots=True)
class Graph:
    """One ONNX file of the bundle."""

    file: str
    sha256: str
    opset: int
    precision: str
    """Of its convolutions and matrix products, read from the graph itself: ``float32``, ``float16``,
    ``int8``, or several joined by ``+``."""
    layers: dict[str, dict[str, int]]
    """How many layers of each class compute in which precision, likewise."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """A compiled graph: a plan file as the library wrote it, and what it is."""

    graph: str
    """``encoder`` or ``matcher``."""
    file: str
    sha256: str
    bytes: int
    onnx_sha256: str
    """Of the graph that it was built from."""
    library: str
    """``tensorrt`` or ``tensorrt_rtx``."""
    version: str
    """Of the library; another version does not load it."""
    targets: tuple[str, ...]
    """GPUs that it runs on, such as ``sm86``; none: whatever the library says."""
    batch: tuple[int, int, int]
    """Smallest, usual and largest."""
    precision: str
    """Of its convolutions and matrix products, read back from the library; ``unknown`` where it does not
    say."""
    tf32: bool
    """Whether float32 products have ten bits of mantissa."""
    layers: dict[str, dict[str, int]]
    """How many kernels of each kind compute in which precision, likewise."""
    activation_bytes: int | None
    scratch_bytes: int | None
    weight_bytes: int | None
    build_seconds: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Conv4dChoice:
    """How the matcher computes 4D convolutions; the results are the same."""

    lowering: str
    """``stack``, ``spectral`` or ``spectral3``."""
    seconds: dict[str, float] | None = None
    """Of one run of the matcher, for each lowering that was tried, fastest first; None if none was."""
    engine: str | None = None
    """What they were measured with."""


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The largest magnitude that a tensor of a half-precision graph had, computed in float32."""

    graph: str
    tensor: str
    operator: str
    """ONNX operator that makes it, or ``weight``."""
    largest: float
    headroom: float
    """How many times larger it could be in float16."""


@dataclass(frozen=True, slots=True)
class RangeReport:
    """Whether what a half-precision graph stores fits into float16, on the verification pictures."""

    headroom: float
    """Of the tightest tensor: 65504 over its largest magnitude."""
    required_headroom: float
    tensors: int
    """How many were watched: every float16 tensor and weight of all graphs."""
    tightest: tuple[TensorRange, ...]

    @property
    def sufficient(self) -> bool:
        return self.headroom >= self.required_headroom


@dataclass(frozen=True, slots=True)
class Verification:
    """Agreement of the exported graphs, run by ONNX Runtime, with PyTorch in float32 on real pictures."""

    passed: bool
    pairs: int
    margin: float
    """Cells count whose best score leads the second best by at least this share of it; 0: all cells."""
    counted_cells: float
    """Share, over both directions, of cells that count."""
    identical_cells: float
    """Share of these whose best match is the same."""
    required_identical_cells: float
    distinct_cells: int
    """Different cells among the network's best matches: with one, agreement would prove nothing."""
    largest_score_difference: float
    allowed_score_difference: float
    pictures: tuple[str, ...]
    ranges: RangeReport | None = None
    """Of a bundle in half precision."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a bundle's matches have in common with those of the bundle that it was made from."""

    pairs: int
    """Of pictures that were not calibrated with."""
    changed_cells: float
    """Share, over both directions, of cells whose best match is another."""
    displacement: float
    """Mean distance between the best matches of all cells, in pixels of the network's frames."""
    pck: float | None = None
    """In percent, α 0.1 of the keypoints' box; None: there are no keypoints."""
    reference_pck: float | None = None
    """Of the bundle that it was made from."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How layers of a bundle came to be INT8."""

    method: str
    """How ranges were chosen: ``minmax``, ``entropy``, ``percentile``, ``mse``."""
    target: str
    """What its graphs are laid out for: ``tensorrt`` or ``cpu``."""
    frames: int
    table: str
    """File in the bundle: the calibration table."""
    table_sha256: str
    made_from: dict[str, str]
    """SHA-256 of the graphs before."""
    layers: tuple[str, ...]
    """Those in INT8, by their place in the network."""
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Islands:
    """How steps of a bundle came to be float16, and others stayed float32, on given frames."""

    half: tuple[str, ...]
    """Groups of steps in float16."""
    whole: tuple[str, ...]
    """Those that stayed float32, frames coming in and best matches going out apart."""
    frames: int
    made_from: dict[str, str]
    """SHA-256 of the float32 graphs."""
    ranges: RangeReport
    """On these frames."""
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that somebody needs to run the graphs; see docs/formats.md."""

    model: dict[str, Any]
    """The network's configuration, as in the checkpoint."""
    image_size: Size
    """(height, width) of the frames that the encoder takes."""
    grid: Size
    """(h, w) of the features."""
    normalisation: dict[str, Any]
    """Mean and std for RGB in [0, 1]; applied inside the encoder."""
    heatmaps: bool
    conv4d: Conv4dChoice
    precision: str
    """What the graphs have, but for the float32 islands in ``layers``: ``float32`` or ``float16``, and
    ``+int8`` behind it where convolutions are quantised."""
    graphs: dict[str, Graph]
    tools: dict[str, str]
    maps: bool = False
    """Whether the matcher also returns the scores of either branch alone and the attention."""
    engines: tuple[EngineRecord, ...] = ()
    """Compiled graphs that lie in the bundle."""
    verification: Verification | None = None
    """With ``calibration`` or ``islands``, of the graphs that these were made from."""
    calibration: Calibration | None = None
    """Of a bundle with INT8 layers."""
    islands: Islands | None = None
    """Of a bundle whose float32 islands were measured, and are not those of ``network/precision.py``."""
    resize: str = "bilinear, corners aligned, aspect ratio not kept, no antialiasing"
    frame: str = "uint8, (batch, height, width, 3), BGR"
    schema: int = SCHEMA

    @property
    def verified(self) -> bool:
        return self.verification is not None and self.verification.passed


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files are complete and unaltered."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read the manifest and check every file's hash. Raises :class:`BundleError`."""
        path = Path(path)
        manifest = read_manifest(path)
        for graph in manifest.graphs.values():
            file = path / graph.file
            if not file.is_file():
                raise BundleError(f"{path} is incomplete: {graph.file} is missing; copy it again")
            if sha256(file) != graph.sha256:
                raise BundleError(
                    f"{file} is not the file that was exported (its SHA-256 differs from the "
                    "manifest's): copy the bundle again, or export it again"
                )
        return cls(path, manifest)

    def graph_path(self, name: str) -> Path:
        return self.path / self.manifest.graphs[name].file


def read_manifest(path: Path) -> Manifest:
    """Raises :class:`BundleError` for a directory that is no bundle, or one of a newer schema."""
    if not path.exists():
        raise BundleError(f"{path} does not exist; a bundle comes from dcc export MODEL -o BUNDLE")
    file = path / MANIFEST
    if not file.is_file():
        kind = "a file" if path.is_file() else f"a folder without {MANIFEST}"
        raise BundleError(f"{path} is {kind}, not a bundle; a bundle comes from dcc export")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        schema = values["schema"]
        if schema != SCHEMA:
            advice = "upgrade dccnet" if schema > SCHEMA else "export it again"
            raise BundleError(
                f"{path} has bundle schema {schema} and this dcc reads schema {SCHEMA}: {advice}"
            )
        return _manifest(values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleError(
            f"{file} is damaged or was edited ({error}): copy or export the bundle again"
        ) from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    values = dataclasses.asdict(manifest)
    values["digest"] = manifest_digest(values)
    text = json.dumps(values, indent=2, allow_nan=False)
    write_text(path / MANIFEST, text + "\n")


def manifest_digest(values: dict[str, Any]) -> str:
    """SHA-256 of a manifest's values without ``digest``, as sorted JSON."""
    content = {name: value for name, value in values.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _manifest(values: dict[str, Any]) -> Manifest:
    if values.get("digest") != manifest_digest(values):
        raise ValueError("its content does not have the digest that was written with it")
    values = {name: value for name, value in values.items() if name != "digest"}
    values["graphs"] = {name: _graph(graph) for name, graph in values["graphs"].items()}
    for name in (ENCODER, MATCHER):
        if name not in values["graphs"]:
            raise KeyError(name)
    values["conv4d"] = Conv4dChoice(**values["conv4d"])
    if values.get("verification") is not None:
        verification = dict(values["verification"])
        verification["pictures"] = tuple(verification["pictures"])
        if verification["ranges"] is not None:
            verification["ranges"] = _ranges(verification["ranges"])
        values["verification"] = Verification(**verification)
    if values.get("calibration") is not None:
        calibration = dict(values["calibration"])
        calibration["agreement"] = Agreement(**calibration["agreement"])
        calibration["layers"] = tuple(calibration["layers"])
        values["calibration"] = Calibration(**calibration)
    if values.get("islands") is not None:
        islands = dict(values["islands"])
        islands["agreement"] = Agreement(**islands["agreement"])
        islands["ranges"] = _ranges(islands["ranges"])
        values["islands"] = Islands(**islands | {k: tuple(islands[k]) for k in ("half", "whole")})
    values["engines"] = tuple(map(engine_record, values["engines"]))
    for name in ("image_size", "grid"):
        height, width = values[name]
        values[name] = (int(height), int(width))
    return Manifest(**values)


def _ranges(values: dict[str, Any]) -> RangeReport:
    return RangeReport(
        **values | {"tightest": tuple(TensorRange(**tensor) for tensor in values["tightest"])}
    )


def _graph(values: dict[str, Any]) -> Graph:
    return Graph(**_file_with_tensors(values))


def engine_record(values: dict[str, Any]) -> EngineRecord:
    """From JSON. Raises :class:`ValueError`, :class:`TypeError` or :class:`KeyError`."""
    values = _file_with_tensors(values)
    smallest, usual, largest = values["batch"]
    return EngineRecord(
        **values | {"targets": tuple(values["targets"]), "batch": (smallest, usual, largest)}
    )


def _file_with_tensors(values: dict[str, Any]) -> dict[str, Any]:
    values = dict(values)
    if Path(values["file"]).name != values["file"]:
        raise ValueError(f"file '{values['file']}' lies outside the bundle")
    for name in ("inputs", "outputs"):
        values[name] = tuple(
            TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in values[name]
        )
    return values
