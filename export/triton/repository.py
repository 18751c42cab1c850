"""From a bundle to a folder that Triton's server loads."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

import onnx

from dccnet.export.bundles.folder import tool_versions
from dccnet.export.bundles.readback import describe_onnx
from dccnet.export.triton.config import TYPES, Model, Placing
from dccnet.export.triton.graphs.build import matches_graph, points_graph, preprocessing
from dccnet.export.triton.models import MATCHES, POINTS_MODEL, PREPROCESS, Part, models_of
from dccnet.export.triton.profile import profile
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import BundleError, UsageError
from dccnet.runtime.files import atomic_path, sha256
from dccnet.runtime.manifest import (
    ENCODER,
    FINE,
    MATCHER,
    EngineRecord,
    TensorSpec,
    encode_manifest,
)
from dccnet.runtime.reading import read_json
from dccnet.runtime.tensorrt.library import TENSORRT
from dccnet.runtime.tensorrt.plan import read_named_plan

CLIENT, PROFILE, RECORD = "client.py", "model-analyzer.yaml", "dcc-triton.json"
"""Files beside the models. Triton takes the folders of a repository for models, and leaves out files."""
ONNX, ENGINE = "onnx", "engine"
KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """How the models run. Raises :class:`UsageError` for settings that exclude each other."""

    name: str = "dcc"
    """What the models' names begin with."""
    format: str = ONNX
    """``onnx``, or ``engine`` for the bundle's TensorRT engines."""
    device: str = "auto"
    """``auto``, ``cpu`` or ``gpu``, for encoder and matcher; all else runs on the CPU."""
    instances: int = 1
    """Copies of each model, on each GPU or on the CPU."""
    max_batch: int = 8
    queue_delay_us: int = 0
    """Microseconds."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"a name has letters, digits, '_', '.' and '-', such as dcc, not '{self.name}'"
            )
        if self.format == ENGINE and self.device == "cpu":
            raise UsageError("engines run on a GPU: use --format onnx with --device cpu")

    def placing(self, part: str, kind: str, max_batch: int) -> Placing:
        on_cpu = part not in (ENCODER, MATCHER)
        kind = KINDS["cpu"] if on_cpu else kind
        return Placing(kind, self.instances, max_batch, self.queue_delay_us, threads=1 if on_cpu else 0)


@dataclass(frozen=True, slots=True)
class Repository:
    """What was written, as ``dcc-triton.json`` has it."""

    bundle: str
    """Digest of the bundle's manifest."""
    settings: Settings
    models: dict[str, int]
    """The version of each model, by name."""
    engines: dict[str, str]
    """Library and version of the engines; empty for ONNX. Triton's TensorRT must be of the same version."""
    tools: dict[str, str]


def export_triton(
    bundle: Bundle,
    path: str | os.PathLike[str],
    settings: Settings | None = None,
    on_step: Callable[[str], None] = lambda description: None,
) -> Repository:
    """Write a model repository of Triton with the bundle's network to the folder ``path``.

    It is written completely or not at all; a repository that this function wrote is replaced. Raises
    :class:`UsageError` where ``path`` is anything else, and :class:`BundleError` for a bundle that cannot
    be served: without scores around the matches (dccnet 0.1), or without fitting TensorRT engines.
    """
    path, settings = Path(path), settings or Settings()
    _check_replaceable(path)
    engines = _engines(bundle) if settings.format == ENGINE else {}
    largest = min([settings.max_batch, *(record.batch[2] for record in engines.values())])
    kind = KINDS["gpu"] if engines else KINDS[settings.device]
    with atomic_path(path) as temporary:
        temporary.mkdir()
        scratch = temporary / "parts"
        scratch.mkdir()
        on_step("copying the network")
        parts = _network(bundle, engines, scratch)
        _check_types(bundle, parts)
        on_step("writing the graphs around it")
        tensors = {spec.name: spec for part in parts.values() for spec in part.outputs}
        manifest = bundle.manifest
        graphs = {
            PREPROCESS: preprocessing(manifest),
            MATCHES: matches_graph(manifest, tensors),
            POINTS_MODEL: points_graph(manifest, tensors),
        }
        parts |= {name: _write_graph(model, scratch / f"{name}.onnx") for name, model in graphs.items()}
        models = models_of(
            settings.name, manifest, parts, lambda name: settings.placing(name, kind, largest)
        )
        for model, part in zip_longest(models, parts.values()):  # ensembles come last
            _write_model(model, part, temporary)
        scratch.rmdir()
        shutil.copy(Path(__file__).with_name(CLIENT), temporary / CLIENT)
        (temporary / PROFILE).write_text(profile(settings.name, manifest.image_size), encoding="utf-8")
        written = Repository(
            bundle=encode_manifest(manifest)["digest"],
            settings=settings,
            models={model.name: model.version for model in models},
            engines={name: f"{record.library} {record.version}" for name, record in engines.items()},
            tools=tool_versions(),
        )
        (temporary / RECORD).write_text(json.dumps(asdict(written), indent=2) + "\n", encoding="utf-8")
    return written


def _network(bundle: Bundle, engines: dict[str, EngineRecord], folder: Path) -> dict[str, Part]:
    """Encoder and matcher, copied to ``folder``."""
    parts = {}
    for name in (ENCODER, MATCHER):
        graph = bundle.manifest.graphs[name]
        if name in engines:
            record, copy = engines[name], folder / f"{name}.plan"
            copy.write_bytes(read_named_plan(bundle.path / record.file, record))
            parts[name] = Part(copy, record.sha256, "tensorrt", record.inputs, record.outputs)
        else:
            copy = folder / f"{name}.onnx"
            shutil.copyfile(bundle.graph_path(name), copy)
            parts[name] = Part(copy, graph.sha256, "onnxruntime", graph.inputs, graph.outputs)
    return parts


def _engines(bundle: Bundle) -> dict[str, EngineRecord]:
    """The bundle's TensorRT engines. Raises :class:`BundleError` where it has none that Triton can run."""
    advice = f"run dcc build {bundle.path} --library tensorrt on the server's GPU, or use --format onnx"
    records = {record.graph: record for record in bundle.manifest.engines if record.library == TENSORRT}
    if set(records) != {ENCODER, MATCHER}:
        others = {record.library for record in bundle.manifest.engines} - {TENSORRT}
        reason = (
            "only engines of TensorRT-RTX, which Triton cannot load" if others else "no TensorRT engines"
        )
        raise BundleError(f"{bundle.path} has {reason}: {advice}")
    for record in records.values():
        if record.batch[0] > 1:
            raise BundleError(
                f"{record.file} takes at least {record.batch[0]} pictures at once, and Triton sends single "
                f"ones: build it with --batch 1:{record.batch[1]}:{record.batch[2]}"
            )
    return records


def _check_types(bundle: Bundle, parts: dict[str, Part]) -> None:
    """Raise :class:`BundleError` for tensors that Triton or the graphs around the network cannot take."""
    there = {spec.name: spec for part in parts.values() for spec in part.outputs}
    if not {"window_a", "window_b"} <= set(there):
        raise BundleError(
            f"{bundle.path} was exported by dccnet 0.1 and returns no scores around the best matches: "
            "export it again with dcc export"
        )
    for spec in (spec for part in parts.values() for spec in (*part.inputs, *part.outputs)):
        if spec.dtype not in TYPES:
            raise BundleError(
                f"{spec.name} is {spec.dtype}, which Triton has no type for: use --format onnx"
            )
    for given in parts[MATCHER].inputs:
        taken = there[given.name.rpartition("_")[0]]
        if (taken.dtype, taken.shape[1:]) != (given.dtype, given.shape[1:]):
            raise BundleError(
                f"the encoder returns {taken.name} as {_text(taken)}, and the matcher takes {_text(given)}"
                ": build both engines again with dcc build"
            )
    if bundle.manifest.fine is not None and FINE not in there:
        raise BundleError(f"the encoder of {bundle.path} returns no fine features: build it again")


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype} {'x'.join(map(str, spec.shape[1:]))}"


def _write_graph(model: onnx.ModelProto, path: Path) -> Part:
    onnx.save(model, str(path))
    graph = describe_onnx(path)
    return Part(path, sha256(path), "onnxruntime", graph.inputs, graph.outputs)


def _write_model(model: Model, part: Part | None, repository: Path) -> None:
    folder = repository / model.name
    version = folder / str(model.version)
    version.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(model.config(), encoding="utf-8")
    if part is not None:
        part.path.rename(version / model.file)
    else:  # the folder must be there, and tools that copy files leave out empty ones
        (version / "ensemble.txt").write_text("An ensemble has no file of its own.\n", encoding="utf-8")


def _check_replaceable(path: Path) -> None:
    """Raise :class:`UsageError` where writing to ``path`` would delete anything but a repository of dcc."""
    if path.exists() and not _is_only_a_repository(path):
        raise UsageError(
            f"{path} exists and is not a repository that dcc export-triton wrote, or contains other files "
            "as well: choose another name"
        )


def _is_only_a_repository(path: Path) -> bool:
    try:
        models = read_json(path / RECORD)["models"]
        known = {CLIENT, PROFILE, RECORD, *models}
        return path.is_dir() and {entry.name for entry in path.iterdir()} <= known
    except (OSError, ValueError, KeyError, TypeError):
        return False
