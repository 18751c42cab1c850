"""Compiling an ONNX file to an engine, with TensorRT 10 or 11 or TensorRT-RTX.

An engine computes in the types of its graph: half precision must be in the ONNX file.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import EngineError, NotVerifiedError, UsageError
from dccnet.runtime.files import atomic_path, native_path, sha256_of
from dccnet.runtime.manifest import EngineRecord, Graph
from dccnet.runtime.tensorrt import layers
from dccnet.runtime.tensorrt.gpu_record import gpu_record
from dccnet.runtime.tensorrt.layers import CONVOLUTION, MATRIX_PRODUCT, UNKNOWN, EngineLayer
from dccnet.runtime.tensorrt.library import RTX_TARGETS, Library, Messages


class BatchRange(NamedTuple):
    """Numbers of pictures (or pairs) per run: the limits of an engine, and the number it is tuned for."""

    smallest: int = 1
    usual: int = 1
    largest: int = 1

    @classmethod
    def parse(cls, text: str) -> BatchRange:
        """Read ``MIN:OPT:MAX``, or one number for all three. Raises :class:`UsageError`."""
        parts = text.split(":")
        numbers = [int(part) for part in parts if part.isdecimal()]
        if len(numbers) == len(parts) == 1:
            numbers *= 3
        if len(numbers) != 3 or len(parts) not in (1, 3):
            raise UsageError(f"a batch is MIN:OPT:MAX, such as 1:1:8, or one number, not '{text}'")
        batch = cls(*numbers)
        if not 1 <= batch.smallest <= batch.usual <= batch.largest:
            raise UsageError(f"in a batch MIN:OPT:MAX, 1 <= MIN <= OPT <= MAX must hold, not '{text}'")
        return batch


ONE = BatchRange()


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Everything that an engine depends on besides its graph and library."""

    batch: BatchRange = ONE
    targets: tuple[str, ...] = ()
    """TensorRT-RTX: GPU generations such as ``sm86``; empty: 8.0, 8.6, 8.9, 12.0 and later."""
    workspace: int | None = None
    """Bytes of scratch memory that a kernel may use; None: all of the GPU's memory."""
    optimization_level: int | None = None
    """0 to 5: how long the builder searches; None: the library's default."""
    hardware_compatibility: str = "none"
    """TensorRT: other GPUs that can run the engine: ``none``, ``ampere+`` or ``same-capability``."""
    tf32: bool = False
    """Whether float32 products may use TF32, with ten bits of mantissa."""
    timing_cache: Path | None = None
    """TensorRT: file with the kernel timings of earlier builds; a build reads and extends it. None: the one
    that the caller of :func:`build_engine` keeps."""

    def check(self, library: Library) -> None:
        """Raises :class:`UsageError` for settings that the library does not support."""
        unknown = [target for target in self.targets if target not in RTX_TARGETS]
        if unknown:
            raise UsageError(
                f"TensorRT-RTX has no target {unknown[0]}: choose from {', '.join(RTX_TARGETS)}"
            )
        if self.targets and not library.is_rtx:
            raise UsageError(
                "TensorRT builds for the GPU that it runs on: remove --target, or use "
                "--library tensorrt_rtx"
            )
        if library.is_rtx and self.hardware_compatibility != "none":
            raise UsageError(
                "--hardware-compatibility is an option of TensorRT: use --target with TensorRT-RTX"
            )
        levels = () if library.is_rtx else library.module.HardwareCompatibilityLevel.__members__
        if self.hardware_compatibility == "same-capability" and "SAME_COMPUTE_CAPABILITY" not in levels:
            raise UsageError(
                f"{library.title} does not build for other GPUs of the same capability: use "
                "--hardware-compatibility ampere+, or a later TensorRT"
            )
        if library.is_rtx and self.timing_cache is not None:
            raise UsageError("TensorRT-RTX times no kernels when it builds: remove --timing-cache")


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine in memory, with its description."""

    plan: bytes
    record: EngineRecord
    layers: tuple[EngineLayer, ...]
    warnings: tuple[str, ...] = ()
    """Sentences about what could not be checked."""


def build_engine(
    library: Library,
    name: str,
    graph: Graph,
    onnx_file: Path,
    settings: BuildSettings,
    on_phase: Callable[[str], None] = lambda phase: None,
    device: Device | None = None,
    usual_timing_cache: Path | None = None,
) -> BuiltEngine:
    """Compile the bundle's graph ``name``; its record holds what the library reports about the engine.

    ``on_phase`` is called with each phase of the build. TensorRT builds for the GPU ``device``; None: for
    CUDA's current one. ``usual_timing_cache`` is used where the settings name none; it is replaced where
    it does not fit. Ctrl-C stops the build. Raises
    :class:`UsageError` for settings that the library does not support, :class:`EngineError` where the
    build fails, and :class:`NotVerifiedError` where the engine's precision differs from its graph's.
    """
    settings.check(library)
    messages = Messages(library.module)
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        cancelled: list[bool] = []
        arguments = (library, graph, onnx_file, settings, usual_timing_cache, messages, on_phase, cancelled)
        build = pool.submit(_build_on, device, *arguments)
        try:
            plan, table = build.result()
        except BaseException:  # no exception may pass through the library: its monitor stops the build
            cancelled.append(True)
            raise
    seconds = time.perf_counter() - started
    record = EngineRecord(
        graph=name,
        file=library.engine_file(name),
        sha256=sha256_of(plan),
        bytes=len(plan),
        onnx_sha256=graph.sha256,
        library=library.name,
        version=library.version,
        targets=settings.targets,
        batch=(settings.batch.smallest, settings.batch.usual, settings.batch.largest),
        precision=layers.compute_precision(table) or UNKNOWN,
        tf32=settings.tf32,
        layers=layers.count_precisions(table),
        activation_bytes=_reported_bytes(messages, "Total Activation Memory"),
        scratch_bytes=_reported_bytes(messages, "Max Scratch Memory"),
        weight_bytes=_reported_bytes(messages, "Total Weights Memory"),
        build_seconds=round(seconds, 3),
        inputs=graph.inputs,
        outputs=graph.outputs,
        gpu=None if device is None or library.is_rtx else gpu_record(device),
        hardware_compatibility=settings.hardware_compatibility,
    )
    if record.precision not in (graph.precision, UNKNOWN):
        raise NotVerifiedError(
            f"the {name} is {graph.precision} and the engine that {library.title} built from it computes "
            f"in {record.precision} ({record.layers}): nothing was written; please report this"
        )
    (wanted, wanted_others), (found, others) = map(_count_int8, (graph.layers, record.layers))
    warnings = []
    if unknown := layers.unknown_precision(table):
        warnings.append(
            f"{library.title} does not report the precision of {len(unknown)} fused kernels of the {name}, "
            f"such as {unknown[0].name[:60]}"
        )
    if record.layers and found < wanted and not unknown and others > wanted_others:
        raise NotVerifiedError(
            f"the {name} has {wanted} convolutions in int8 and the engine that {library.title} built from "
            f"it has {found} ({record.layers}): nothing was written; please report this"
        )
    if record.layers and found < wanted:
        warnings.append(
            f"the {name} has {wanted} convolutions in int8 and its engine {found}: none runs in another "
            "precision as far as the library reports, so that some must have been fused"
        )
    return BuiltEngine(plan, record, table, tuple(warnings))


def _count_int8(layers: dict[str, dict[str, int]]) -> tuple[int, int]:
    """Convolutions and matrix products, into which engines turn some of them: in INT8, and others."""
    counts: Counter[str] = Counter()
    for kind in (CONVOLUTION, MATRIX_PRODUCT):
        counts.update(layers.get(kind, {}))
    return counts["int8"], counts.total() - counts["int8"] - counts[UNKNOWN]


def _build_on(device: Device | None, *arguments: Any) -> tuple[bytes, tuple[EngineLayer, ...]]:
    """Build on a new thread, whose current GPU would be the first one and not the caller's."""
    with contextlib.nullcontext() if device is None else device.activate():
        return _build(*arguments)


def _build(
    library: Library,
    graph: Graph,
    onnx_file: Path,
    settings: BuildSettings,
    usual_timing_cache: Path | None,
    messages: Messages,
    on_phase: Callable[[str], None],
    cancelled: list[bool],
) -> tuple[bytes, tuple[EngineLayer, ...]]:
    trt = library.module
    builder = _create_builder(library, messages)
    network = builder.create_network(library.network_flags)
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse_from_file(native_path(onnx_file)):
        reason = parser.get_error(0).desc() if parser.num_errors else messages.reason
        raise EngineError(f"{library.title} cannot read {onnx_file}: {' '.join(reason.split())}")
    config = builder.create_builder_config()
    _configure(config, library, settings)
    profile = builder.create_optimization_profile()
    for spec in graph.inputs:
        profile.set_shape(spec.name, *((count, *spec.shape[1:]) for count in settings.batch))
    config.add_optimization_profile(profile)
    config.progress_monitor = _create_monitor(trt, on_phase, cancelled)
    with _timing_cache(config, settings.timing_cache, usual_timing_cache):
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"{library.title} cannot build {onnx_file.name}: {messages.reason}")
    plan = bytes(plan)
    names = [spec.name for spec in graph.inputs]
    if library.is_rtx:
        reports = [text for text in messages.reports if text.startswith("Layers:")]
        return plan, layers.parse_report(reports[-1], names) if reports else ()
    return plan, layers.parse_inspector(_inspect(library, plan, messages), names)


def _create_builder(library: Library, messages: Messages) -> Any:
    try:
        builder = library.module.Builder(messages.logger)
    except TypeError as error:  # from pybind11: the library returned no builder
        raise EngineError(
            f"{library.title} builds engines only on a machine with an NVIDIA GPU and its driver: run dcc "
            "build BUNDLE there, or build here for another GPU with --library tensorrt_rtx --target sm86"
        ) from error
    return builder


def _configure(config: Any, library: Library, settings: BuildSettings) -> None:
    trt = library.module
    # With less verbosity, the library does not report its layers.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace)
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    if settings.hardware_compatibility == "ampere+":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    elif settings.hardware_compatibility == "same-capability":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    if settings.targets:
        config.num_compute_capabilities = len(settings.targets)
        for i, target in enumerate(settings.targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), i)


def _create_monitor(trt: Any, on_phase: Callable[[str], None], cancelled: list[bool]) -> Any:
    """A progress monitor that stops the build once ``cancelled`` has an item."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # pybind11 does not accept super()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            on_phase(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return not cancelled

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


@contextlib.contextmanager
def _timing_cache(config: Any, named: Path | None, usual: Path | None) -> Iterator[None]:
    """Use a timing cache in a build, and write it back, merged with what other builds added meanwhile.

    ``named`` is the user's file and must fit. ``usual`` takes its place where the user named none: it may
    be of another GPU or not writable.
    """
    path = named or usual
    if path is None:
        yield
        return
    if not _set_timing_cache(config, _read_if_there(path)):
        if named is not None:
            raise EngineError(
                f"{path} is not a timing cache of this GPU and version of TensorRT: name another file with "
                "--timing-cache"
            )
        if not _set_timing_cache(config, b""):
            yield
            return
    yield
    cache = config.get_timing_cache()
    other = config.create_timing_cache(_read_if_there(path))
    if other is not None:
        cache.combine(other, True)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))
    except OSError:
        if named is not None:
            raise


def _set_timing_cache(config: Any, content: bytes) -> bool:
    cache = config.create_timing_cache(content)
    return cache is not None and bool(config.set_timing_cache(cache, False))


def _read_if_there(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _inspect(library: Library, plan: bytes, messages: Messages) -> str:
    """JSON report about the layers of an engine, which TensorRT has only for a loaded one."""
    trt = library.module
    engine = trt.Runtime(messages.logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"{library.title} cannot load the engine that it built: {messages.reason}")
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _reported_bytes(messages: Messages, label: str) -> int | None:
    """The size that the library logged last as ``label``, or None if it logged none."""
    for text in reversed(messages.reports):
        if match := re.match(rf"{label}: (\d+) bytes", text):
            return int(match[1])
    return None
