"""The manifest of a bundle: every field of ``manifest.json`` (docs/formats.md)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.runtime.confidence import ConfidenceModel
from dccnet.runtime.decoding import DecodingError, decode
from dccnet.runtime.frames import UINT8, FrameFormat
from dccnet.runtime.geometry import Size

SCHEMA, OLDEST_SCHEMA = 4, 3
"""Of the manifests that are written, and the oldest that is read: frames were always uint8 in schema 3."""
ENCODER, MATCHER = "encoder", "matcher"
LIBRARIES = ("tensorrt", "tensorrt_rtx")
"""That compile engines."""
FRAME = "frame"
"""Name of the encoder's input."""
FINE = "fine"
"""The encoder's output with fine features, which the matcher does not take."""
SUPPORT = "support"
"""The matcher's output with the support of local matches, of a network that fuses by it."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a graph."""

    name: str
    dtype: str
    """NumPy's name, such as ``float32``."""
    shape: tuple[int | str, ...]
    """A string is a dynamic dimension; only ``batch`` occurs."""


@dataclass(frozen=True, slots=True)
class Graph:
    """One ONNX file of the bundle. Raises ``ValueError`` for a file outside the bundle's folder."""

    file: str
    sha256: str
    opset: int
    precision: str
    """Precision of the convolutions and matrix products, read from the graph itself: ``float32``,
    ``float16``, ``int8``, or several joined by ``+``."""
    layers: dict[str, dict[str, int]]
    """Number of layers by class and precision, read from the graph itself."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        _check_file_name(self.file)


@dataclass(frozen=True, slots=True)
class FineGrid:
    """Where the encoder's fine features lie in a frame."""

    stride: int
    """Distance between neighbouring features, in pixels of the frame."""
    first: tuple[float, float]
    """(y, x) of the first feature, in pixels of the frame: the centre of what it sees."""


@dataclass(frozen=True, slots=True)
class GpuRecord:
    """A GPU, as it was when an engine was built or compared on it."""

    name: str
    capability: tuple[int, int]
    """Compute capability: major, minor."""
    driver: str | None = None
    """Version of the NVIDIA driver; None where the system does not say."""


@dataclass(frozen=True, slots=True)
class EngineComparison:
    """Agreement of a bundle's engines with the graphs that they were built from, on synthetic frames."""

    passed: bool
    gpu: GpuRecord
    """The GPU that ran the engines."""
    counted_cells: float
    """Share of cells whose best match is compared: near ties are not."""
    identical_cells: float
    """Share of the compared cells whose best match is identical."""
    largest_score_difference: float
    worst_tensor: str
    """The graph and its output that differ most, such as ``matcher: score_a``."""
    worst_difference: float
    """Norm of its difference over its norm; for best matches, the share of compared cells that differ."""


@dataclass(frozen=True, slots=True)
class LoweringTimes:
    """What ``dcc build --conv4d auto`` measured."""

    gpu: GpuRecord
    milliseconds: dict[str, float]
    """Time of one run of the matcher's engine on the GPU with each lowering, fastest first."""

    @property
    def table(self) -> str:
        """``spectral 1.20 ms, stack 1.50 ms``."""
        return ", ".join(f"{name} {value:.2f} ms" for name, value in self.milliseconds.items())


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """A compiled graph: a plan file as the engine library wrote it, and how it was built.

    Raises ``ValueError`` for a file outside the bundle's folder, and for a library that dcc does not know.
    """

    graph: str
    """``encoder`` or ``matcher``."""
    file: str
    sha256: str
    bytes: int
    onnx_sha256: str
    """SHA-256 of the graph that the engine was built from."""
    library: str
    """``tensorrt`` or ``tensorrt_rtx``."""
    version: str
    """Version of the library; another version does not load the plan."""
    targets: tuple[str, ...]
    """GPUs that the engine runs on, such as ``sm86``; empty: those that the library accepts."""
    batch: tuple[int, int, int]
    """Smallest, usual and largest batch."""
    precision: str
    """Precision of the convolutions and matrix products, as the library reports it after the build;
    ``unknown`` where it does not report one."""
    tf32: bool
    """Whether float32 products may use TF32, with 10 bits of mantissa."""
    layers: dict[str, dict[str, int]]
    """Number of kernels by kind and precision, as the library reports it after the build."""
    activation_bytes: int | None
    scratch_bytes: int | None
    weight_bytes: int | None
    build_seconds: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gpu: GpuRecord | None = None
    """The GPU that TensorRT built the engine on; None for TensorRT-RTX, which compiles for ``targets``, and
    for engines of version 0.1."""
    hardware_compatibility: str = "none"
    """Other GPUs that run the engine: ``none``, ``ampere+`` or ``same-capability``."""
    comparison: EngineComparison | None = None
    """None: no GPU that runs the engine was there when it was built."""
    times: LoweringTimes | None = None
    """For a matcher whose lowering was chosen by timing."""

    def __post_init__(self) -> None:
        _check_file_name(self.file)
        if self.library not in LIBRARIES:
            raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, not '{self.library}'")


@dataclass(frozen=True, slots=True)
class Conv4dChoice:
    """How the matcher computes 4D convolutions; all lowerings compute the same results."""

    lowering: str
    """``stack``, ``spectral``, ``spectral3`` or ``separable``."""
    seconds: dict[str, float] | None = None
    """Seconds for one run of the matcher with each lowering that was timed, fastest first; None if none
    was."""
    engine: str | None = None
    """The engine that they were timed with."""


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The largest magnitude of one tensor of a half-precision graph, computed in float32."""

    graph: str
    tensor: str
    operator: str
    """The ONNX operator that produces the tensor, or ``weight``."""
    largest: float
    headroom: float
    """float16's maximum, 65504, over ``largest``."""


@dataclass(frozen=True, slots=True)
class RangeReport:
    """Whether the tensors of half-precision graphs fit into float16 on the verification pictures."""

    headroom: float
    """Headroom of the tightest tensor: 65504 over its largest magnitude."""
    required_headroom: float
    tensors: int
    """Number of tensors observed: every float16 tensor and weight of all graphs."""
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
    """Only cells whose best score exceeds the second best by at least this share of it are compared; 0:
    all cells are."""
    counted_cells: float
    """Share of cells that are compared, over both directions."""
    identical_cells: float
    """Share of the compared cells whose best match is identical."""
    required_identical_cells: float
    distinct_cells: int
    """Different cells among the network's best matches: with only one, agreement would prove nothing."""
    largest_score_difference: float
    allowed_score_difference: float
    pictures: tuple[str, ...]
    ranges: RangeReport | None = None
    """For a bundle in half precision."""
    largest_fine_difference: float | None = None
    """Of fine features, in any channel; None for a bundle without them."""
    allowed_fine_difference: float | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a bundle's matches agree with those of the bundle that it was made from."""

    pairs: int
    """Number of pairs of pictures, none of which was used for calibration."""
    changed_cells: float
    """Share of cells whose best match differs, over both directions."""
    displacement: float
    """Mean distance between the best matches of all cells, in pixels of the network's frames."""
    pck: float | None = None
    """Percent, at α = 0.1 of the keypoints' box; None without keypoints."""
    reference_pck: float | None = None
    """``pck`` of the bundle that it was made from."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the INT8 layers of a bundle were calibrated."""

    method: str
    """How ranges were chosen: ``minmax``, ``entropy``, ``percentile``, ``mse``."""
    target: str
    """The engine that the graphs are laid out for: ``tensorrt`` or ``cpu``."""
    frames: int
    table: str
    """The file in the bundle that contains the calibration table."""
    table_sha256: str
    made_from: dict[str, str]
    """SHA-256 of the graphs before quantisation."""
    layers: tuple[str, ...]
    """Names of the INT8 layers, by their place in the network."""
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Islands:
    """Which steps of a bundle compute in float16 and which stay float32, as measured on frames."""

    half: tuple[str, ...]
    """Groups of steps in float16."""
    whole: tuple[str, ...]
    """Groups of steps in float32, except the input frames and the best matches, which always are."""
    frames: int
    made_from: dict[str, str]
    """SHA-256 of the float32 graphs."""
    ranges: RangeReport
    """Ranges on these frames."""
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that is needed to run the graphs.

    Raises ``ValueError`` where a graph is missing, and for a type of frames that dcc does not know.
    """

    model: dict[str, Any]
    """The network's configuration, as in the checkpoint."""
    image_size: Size
    """(height, width) of the frames that the encoder takes, in pixels."""
    grid: Size
    """(h, w) of the features, in cells."""
    normalisation: dict[str, Any]
    """Mean and standard deviation for RGB in [0, 1]; applied inside the encoder."""
    heatmaps: bool
    """Whether the matcher also returns all scores of each cell."""
    conv4d: Conv4dChoice
    precision: str
    """Precision of the graphs, except for the float32 islands in ``layers``: ``float32`` or ``float16``,
    followed by ``+int8`` where convolutions are quantised."""
    graphs: dict[str, Graph]
    """``encoder`` and ``matcher``."""
    tools: dict[str, str]
    """Versions of the libraries that exported the graphs."""
    maps: bool = False
    """Whether the matcher also returns the scores of each branch alone and the attention."""
    fine: FineGrid | None = None
    """Where fine features lie; None: the encoder returns none, and matches are not refined."""
    lowerings: dict[str, Graph] = dataclasses.field(default_factory=dict)
    """The matcher with other lowerings of the 4D convolutions than ``conv4d``, by name: ``dcc build`` can
    time them on the GPU. They compute the same as ``graphs.matcher``."""
    engines: tuple[EngineRecord, ...] = ()
    """Compiled graphs that the bundle contains."""
    verification: Verification | None = None
    """With ``calibration`` or ``islands``: verification of the graphs that this bundle was made from."""
    calibration: Calibration | None = None
    """For a bundle with INT8 layers."""
    islands: Islands | None = None
    """For a bundle whose float32 islands were measured instead of taken from ``network/precision.py``."""
    confidence: ConfidenceModel | None = None
    """How much a match can be trusted; None if it was not fitted (``dcc confidence``)."""
    resize: str = "bilinear, corners aligned, aspect ratio not kept, no antialiasing"
    frame: str = "uint8, (batch, height, width, 3), BGR"
    """The encoder's input, for people to read (:attr:`frames`)."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name in (ENCODER, MATCHER):
            if name not in self.graphs:
                raise ValueError(f"graphs.{name} is missing")
        FrameFormat(self.image_size, self._frame_dtype)  # raises

    @property
    def files(self) -> list[Graph]:
        """Every graph that the bundle contains."""
        return [*self.graphs.values(), *self.lowerings.values()]

    def with_lowering(self, name: str) -> Manifest:
        """The manifest with the matcher of this lowering as its own. Raises ``KeyError``."""
        if name == self.conv4d.lowering:
            return self
        graphs = self.graphs | {MATCHER: self.lowerings[name]}
        return dataclasses.replace(self, graphs=graphs, conv4d=Conv4dChoice(name), lowerings={})

    @property
    def frames(self) -> FrameFormat:
        """What the encoder takes."""
        return FrameFormat(self.image_size, self._frame_dtype)

    @property
    def _frame_dtype(self) -> str:
        return next((spec.dtype for spec in self.graphs[ENCODER].inputs if spec.name == FRAME), UINT8)

    @property
    def verified(self) -> bool:
        return self.verification is not None and self.verification.passed


def encode_manifest(manifest: Manifest) -> dict[str, Any]:
    """Values for JSON, with their ``digest``."""
    values = dataclasses.asdict(manifest)
    return values | {"digest": manifest_digest(values)}


def decode_manifest(values: dict[str, Any]) -> Manifest:
    """The manifest from what ``json.loads`` returned. Raises :class:`DecodingError`."""
    if values.get("digest") != manifest_digest(values):
        raise DecodingError("its content does not have the digest that was written with it")
    return decode(Manifest, {name: value for name, value in values.items() if name != "digest"})


def manifest_digest(values: dict[str, Any]) -> str:
    """SHA-256 of a manifest's values without ``digest``, as sorted JSON."""
    content = {name: value for name, value in values.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_file_name(file: str) -> None:
    if Path(file).name != file:
        raise ValueError(f"file '{file}' lies outside the bundle")
