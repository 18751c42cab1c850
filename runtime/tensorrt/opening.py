"""The engines of a bundle for one GPU: from the bundle, from the cache, or built on first use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.bundle_shapes import check_shapes
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import BundleError, EngineError, NotVerifiedError
from dccnet.runtime.extras import install
from dccnet.runtime.tensorrt.builder import BuildSettings, BuiltEngine
from dccnet.runtime.tensorrt.bundled import build_graph
from dccnet.runtime.tensorrt.cache import compared_once, engine_folder, kernel_file
from dccnet.runtime.tensorrt.comparison import compare_engines, disagreement
from dccnet.runtime.tensorrt.gpu_record import gpu_record, sm_name
from dccnet.runtime.tensorrt.library import RTX_TARGETS, Library, installed_libraries
from dccnet.runtime.tensorrt.plan import check_loadable, write_engine
from dccnet.runtime.tensorrt.runner import Engine
from dccnet.runtime.tensorrt.runtime_cache import RuntimeCache
from dccnet.runtime.tensorrt.trusted import GRAPHS, Plan, bundled_plans, cached_plans, require_names

Note = Callable[[str], None]


class OpenedEngines(NamedTuple):
    """Both engines of a bundle, loaded on a GPU."""

    library: Library
    encoder: Engine
    matcher: Engine


def open_engines(bundle: Bundle, device: Device, *, trust: bool = False, on_note: Note) -> OpenedEngines:
    """Load the bundle's engines with the first library that has or can build them.

    The device must be active. ``trust`` loads engines in the bundle that its manifest does not name.
    ``on_note`` is called when engines are built, passed over or not compared with their graphs. Raises
    :class:`EngineError`, :class:`BundleError` for a manifest that says other sizes than the graphs have,
    and :class:`NotVerifiedError` for engines that disagree with their graphs.
    """
    libraries = installed_libraries()
    if not libraries:
        raise EngineError(
            f"no engine library is installed: {install('gpu')} for TensorRT, or {install('rtx')} for "
            "TensorRT-RTX"
        )
    problems = []
    for library in libraries:
        try:
            return _open_with(library, bundle, device, trust, on_note)
        except EngineError as error:
            problems.append(str(error))
    raise EngineError("; ".join(problems))


def _open_with(
    library: Library, bundle: Bundle, device: Device, trust: bool, on_note: Note
) -> OpenedEngines:
    """The bundle's own engines or those in the cache, where they load here; else new ones."""
    check_target(library, device)
    problems: list[str] = []
    try:
        for read in _readers(library, bundle, device, trust):
            try:
                plans = read()
                opened = load_engines(library, plans, device, on_note)
                _check_frames(bundle, opened.encoder)
                _check_sizes(bundle, opened)
                break
            except (EngineError, BundleError) as error:
                on_note(f"passed over: {error}")
                problems.append(str(error))
        else:
            on_note(f"building engines with {library.title} for {device.name}; this is done once")
            built = [build_into_cache(bundle, name, library, device, on_note) for name in GRAPHS]
            plans = cached_plans(built, bundle, library, device)
            opened = load_engines(library, plans, device, on_note)
            _check_sizes(bundle, opened)
    except EngineError as error:
        raise EngineError("; ".join([*problems, str(error)])) from error
    _require_agreement(bundle, opened, plans, device, on_note)
    return opened


def _readers(
    library: Library, bundle: Bundle, device: Device, trust: bool
) -> Iterator[Callable[[], list[Plan]]]:
    """Readers of the plans in the bundle and of those in the cache, where both plans are there.

    The cache is not touched before its reader is asked for: engines in a bundle need none. Raises
    :class:`EngineError` for engines in the bundle that must not be loaded, and for a user without a cache.
    """
    in_bundle = [bundle.path / library.engine_file(name) for name in GRAPHS]
    if all(path.exists() for path in in_bundle):
        if not trust:
            require_names(bundle, library)
        yield partial(bundled_plans, in_bundle, bundle, library, device)
    in_cache = [cached_plan(bundle, name, library, device) for name in GRAPHS]
    if all(path.exists() for path in in_cache):
        yield partial(cached_plans, in_cache, bundle, library, device)


def _check_frames(bundle: Bundle, encoder: Engine) -> None:
    """Raises :class:`EngineError` where a trusted engine takes other frames than the bundle's graph."""
    (found,), frames = encoder.inputs, bundle.manifest.frames
    taken, wanted = (found.shape, found.dtype.name), ((1, *frames.size, 3), frames.dtype)
    if taken != wanted:
        raise EngineError(
            f"{encoder.title} takes frames {taken[0]} {taken[1]}, and its graph {wanted[0]} {wanted[1]}: "
            "build it again with dcc build"
        )


def _check_sizes(bundle: Bundle, opened: OpenedEngines) -> None:
    """Raises :class:`BundleError` where the manifest says other sizes than the engines have."""
    encoder, matcher = (
        {name: tensor.shape for name, tensor in engine.tensors.items()}
        for engine in (opened.encoder, opened.matcher)
    )
    check_shapes(bundle, encoder, matcher)


def compare_built(
    bundle: Bundle, library: Library, engines: Sequence[BuiltEngine], device: Device | None, on_note: Note
) -> list[BuiltEngine]:
    """The engines of both graphs, with the result of a comparison with them in their records.

    Where no GPU here runs them, ``on_note`` is called and they are returned as they are. Raises
    :class:`NotVerifiedError` where they disagree with their graphs.
    """
    try:
        if device is None:
            raise EngineError("no GPU here runs them")
        plans = [Plan(Path(engine.record.file), engine.plan, engine.record) for engine in engines]
        for plan in plans:
            check_loadable(plan.path, plan.record, plan.content, library, gpu_record(device))
        check_target(library, device)
        with device.activate():
            opened = load_engines(library, plans)
            tf32 = any(engine.record.tf32 for engine in engines)
            comparison = compare_engines(bundle, opened.encoder, opened.matcher, device, tf32=tf32)
    except EngineError as error:
        on_note(f"not compared: {error}")
        return list(engines)
    if not comparison.passed:
        raise NotVerifiedError(f"{disagreement(comparison)}: no engine was written; please report this")
    return [
        dataclasses.replace(engine, record=dataclasses.replace(engine.record, comparison=comparison))
        for engine in engines
    ]


def _require_agreement(
    bundle: Bundle, opened: OpenedEngines, plans: Sequence[Plan], device: Device, on_note: Note
) -> None:
    """Raises :class:`NotVerifiedError` where the engines disagree with their graphs on this GPU.

    They are compared once: the result is in their records, or in the cache.
    """
    gpu = gpu_record(device)
    recorded = [None if plan.record is None else plan.record.comparison for plan in plans]
    if recorded[0] is not None and recorded[0].gpu == gpu and recorded[0] == recorded[1]:
        comparison = recorded[0]
    else:
        tf32 = any(plan.record is not None and plan.record.tf32 for plan in plans)
        compare = partial(compare_engines, bundle, opened.encoder, opened.matcher, device, tf32=tf32)
        try:
            comparison = compared_once([plan.sha256 for plan in plans], gpu, compare)
        except EngineError as error:
            on_note(f"the engines were not compared with their graphs: {error}")
            return
    if not comparison.passed:
        raise NotVerifiedError(f"{disagreement(comparison)}; please report this")


def check_target(library: Library, device: Device) -> None:
    """Raises :class:`EngineError` for a GPU that the library does not support."""
    target = sm_name(device.capability)
    if library.is_rtx and target not in RTX_TARGETS:
        raise EngineError(
            f"{library.title} does not support {device.name}: it has no target {target}, only "
            f"{', '.join(RTX_TARGETS)}; {install('gpu')} for TensorRT, which does"
        )


def load_engines(
    library: Library, plans: Sequence[Plan], device: Device | None = None, on_note: Note = lambda text: None
) -> OpenedEngines:
    """Load the encoder's and the matcher's plan. Raises :class:`EngineError`.

    With a ``device``, kernels that TensorRT-RTX compiles there are kept for other processes.
    """
    digests = [plan.sha256 for plan in plans]
    file = None if device is None else kernel_file(digests, library, gpu_record(device))
    encoder, matcher = (Engine(library, plan.content, str(plan.path)) for plan in plans)
    if file is not None:
        encoder.cache = matcher.cache = RuntimeCache.open(encoder.create_runtime_config(), file, on_note)
    return OpenedEngines(library, encoder, matcher)


def build_into_cache(
    bundle: Bundle, name: str, library: Library, device: Device, on_note: Note = lambda text: None
) -> Path:
    """Build the bundle's graph ``name`` for this GPU, into the cache; returns the path of its plan."""
    engine = build_graph(bundle, name, library, default_settings(library, device), device=device)
    for warning in engine.warnings:
        on_note(warning)
    return write_engine(engine, cached_plan(bundle, name, library, device).parent)


def default_settings(library: Library, device: Device) -> BuildSettings:
    """Settings for one picture at a time on this GPU."""
    return BuildSettings(targets=(sm_name(device.capability),) if library.is_rtx else ())


def cached_plan(bundle: Bundle, name: str, library: Library, device: Device) -> Path:
    """Path in the cache of the engine of the bundle's graph ``name`` for this GPU."""
    graph, settings = bundle.manifest.graphs[name], default_settings(library, device)
    gpu = f"{device.name} {sm_name(device.capability)}"
    return engine_folder(graph, library, settings, gpu) / library.engine_file(name)
