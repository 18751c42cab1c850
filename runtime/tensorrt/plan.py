"""An engine on disk: a plain plan file, as trtexec and Triton load it, and a sidecar that describes it.

Loading a plan runs code that it contains. A plan in a bundle is therefore loaded only if the bundle's
manifest names it and its hash, or if the user says that it is trusted. The sidecar describes the plan; what
it says is believed only in the user's own cache.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.runtime.decoding import DecodingError, decode
from dccnet.runtime.errors import EngineError
from dccnet.runtime.files import atomic_path, sha256_of, write_text
from dccnet.runtime.manifest import EngineRecord, GpuRecord
from dccnet.runtime.reading import read_json
from dccnet.runtime.tensorrt.builder import BuiltEngine
from dccnet.runtime.tensorrt.gpu_record import describe_gpu, sm_name
from dccnet.runtime.tensorrt.layers import EngineLayer
from dccnet.runtime.tensorrt.library import TITLES, Library

SCHEMA = 1
SIDECAR_SUFFIX = ".json"
# The header of a TensorRT-RTX plan, inferred from plans of version 1.7: magic, format, size of the plan,
# version, magic again, and one bit for each target.
_RTX_MAGIC = b"vtrt"
_RTX_HEADER = struct.Struct("<4s4xQQ4B4sI")
_RTX_TARGET_BITS = {1: "sm75", 2: "sm80", 4: "sm86", 8: "sm89", 16: "sm120"}


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The content of the JSON file beside a plan."""

    schema: int
    engine: EngineRecord
    layers: tuple[EngineLayer, ...]


def sidecar_path(plan: Path) -> Path:
    return plan.with_name(plan.name + SIDECAR_SUFFIX)


def write_engine(engine: BuiltEngine, folder: Path) -> Path:
    """Write plan and sidecar into ``folder``, each atomically, the plan first; returns the plan's path."""
    path = folder / engine.record.file
    with atomic_path(path) as temporary:
        temporary.write_bytes(engine.plan)
    sidecar = Sidecar(SCHEMA, engine.record, engine.layers)
    write_text(sidecar_path(path), json.dumps(dataclasses.asdict(sidecar), indent=2) + "\n")
    return path


def read_sidecar(plan: Path) -> Sidecar | None:
    """The sidecar of a plan, or None if it has none. Raises :class:`EngineError` for a damaged one."""
    path = sidecar_path(plan)
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        if isinstance(values, dict) and values.get("schema", SCHEMA) != SCHEMA:
            raise DecodingError(f"its schema is {values['schema']}, and this dcc reads {SCHEMA}")
        return decode(Sidecar, values)
    except (OSError, ValueError) as error:
        raise EngineError(f"{path} is damaged ({error}): build the engine again") from error


def read_plan(plan: Path, *, trust: bool = False) -> tuple[bytes, EngineRecord | None]:
    """Content and record of a plan whose hash is the one in its sidecar; ``trust`` accepts one without.

    Raises :class:`EngineError` for a plan that is missing, truncated, altered, or without a sidecar.
    """
    content = _read(plan)
    sidecar = read_sidecar(plan)
    _check_length(plan, content)
    if sidecar is None:
        if trust:
            return content, None
        raise EngineError(
            f"{plan} has no {sidecar_path(plan).name} beside it, and loading an engine runs code that it "
            "contains: build it with dcc build, or pass --trust-engine if you know where it comes from"
        )
    _check_hash(plan, content, sidecar.engine, "sidecar")
    return content, sidecar.engine


def read_named_plan(plan: Path, record: EngineRecord) -> bytes:
    """Content of a plan that the bundle's manifest names by ``record``.

    Raises :class:`EngineError` for a plan that is missing, truncated or altered.
    """
    content = _read(plan)
    _check_length(plan, content)
    _check_hash(plan, content, record, "manifest")
    return content


def _read(plan: Path) -> bytes:
    try:
        return plan.read_bytes()
    except OSError as error:
        raise EngineError(f"{plan} cannot be read ({error.strerror}): build the engine again") from error


def _check_length(plan: Path, content: bytes) -> None:
    header = plan_header(content)
    if header is not None and header["bytes"] != len(content):
        raise _truncated(plan, content, header["bytes"])


def _check_hash(plan: Path, content: bytes, record: EngineRecord, holder: str) -> None:
    if sha256_of(content) == record.sha256:
        return
    if len(content) < record.bytes:
        raise _truncated(plan, content, record.bytes)
    raise EngineError(
        f"{plan} is not the engine that was built (its SHA-256 differs from the {holder}'s): copy both "
        "again, or build it again"
    )


def _truncated(plan: Path, content: bytes, whole: int) -> EngineError:
    return EngineError(f"{plan} has {len(content)} bytes of {whole}: copy it again, or build it again")


def plan_header(content: bytes) -> dict[str, Any] | None:
    """Size, version and targets from the plan's header; None for formats whose header is not known."""
    if len(content) < _RTX_HEADER.size or not content.startswith(_RTX_MAGIC):
        return None
    _, _, size, *version, magic, targets = _RTX_HEADER.unpack_from(content)
    if magic != _RTX_MAGIC:
        return None
    return {
        "bytes": size,
        "version": ".".join(map(str, version)),
        "targets": tuple(name for bit, name in _RTX_TARGET_BITS.items() if targets & bit),
    }


def check_loadable(
    plan: Path,
    record: EngineRecord | None,
    content: bytes,
    library: Library,
    gpu: GpuRecord | None,
) -> None:
    """Check that this library, on this GPU, loads the plan; None: on any GPU.

    Raises :class:`EngineError`, which names the version or GPU that the plan was built for.
    """
    header = plan_header(content) or {}
    name = record.library if record is not None else None
    version = record.version if record is not None else header.get("version")
    targets: Sequence[str] = record.targets if record is not None else header.get("targets", ())
    if name is not None and name != library.name:
        raise EngineError(f"{plan} is an engine of {TITLES[name]}, not of {TITLES[library.name]}")
    if version is not None and version != library.version:
        raise EngineError(
            f"{plan} was built by {TITLES[library.name]} {version} and {library.version} is installed: run "
            "dcc build BUNDLE, or install that version"
        )
    if gpu is None:
        return
    here = sm_name(gpu.capability)
    if targets and here not in targets:
        raise EngineError(
            f"{plan} was built for {', '.join(targets)} and this GPU is {here}: run dcc build BUNDLE "
            "--target " + here
        )
    if record is not None and record.gpu is not None and not _runs_on(record, record.gpu, gpu):
        raise EngineError(
            f"{plan} was built on {describe_gpu(record.gpu)} and this GPU is {describe_gpu(gpu)}: run dcc "
            "build BUNDLE here"
        )


def _runs_on(record: EngineRecord, built_on: GpuRecord, gpu: GpuRecord) -> bool:
    """Whether TensorRT accepts the engine on this GPU."""
    if record.hardware_compatibility == "ampere+":
        return gpu.capability >= (8, 0)
    if record.hardware_compatibility == "same-capability":
        return gpu.capability == built_on.capability
    return (gpu.name, gpu.capability) == (built_on.name, built_on.capability)
