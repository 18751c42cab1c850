"""The engines of a bundle for one GPU: from the bundle, from the cache, or built on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import EngineError
from dccnet.runtime.extras import install
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.tensorrt.builder import BuildSettings, build_engine
from dccnet.runtime.tensorrt.cache import engine_folder
from dccnet.runtime.tensorrt.gpu_record import gpu_record, sm_name
from dccnet.runtime.tensorrt.library import RTX_TARGETS, Library, installed_libraries
from dccnet.runtime.tensorrt.plan import check_loadable, read_plan, sidecar_path, write_engine
from dccnet.runtime.tensorrt.runner import Engine

Note = Callable[[str], None]
GRAPHS = (ENCODER, MATCHER)


class OpenedEngines(NamedTuple):
    """Both engines of a bundle, loaded on a GPU."""

    library: Library
    encoder: Engine
    matcher: Engine


def open_engines(bundle: Bundle, device: Device, *, trust: bool = False, on_note: Note) -> OpenedEngines:
    """Load the bundle's engines with the first library that has or can build them.

    The device must be active. ``trust`` loads engines in the bundle that have no sidecar. ``on_note`` is
    called when engines are built or passed over. Raises :class:`EngineError`.
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
    in_bundle = [bundle.path / library.engine_file(name) for name in GRAPHS]
    in_cache = [cached_plan(bundle, name, library, device) for name in GRAPHS]
    problems = []
    for paths in (in_bundle, in_cache):
        if not all(path.exists() for path in paths):
            continue
        try:
            return load_engines(library, _read_plans(paths, bundle, library, device, trust))
        except EngineError as error:
            if paths is in_bundle and not all(sidecar_path(path).exists() for path in paths):
                raise  # a plan without sidecar needs the user's decision: it is not replaced silently
            on_note(f"passed over: {error}")
            problems.append(str(error))
    on_note(f"building engines with {library.title} for {device.name}; this is done once")
    try:
        paths = [build_into_cache(bundle, name, library, device) for name in GRAPHS]
        return load_engines(library, [(path, path.read_bytes()) for path in paths])
    except EngineError as error:
        raise EngineError("; ".join([*problems, str(error)])) from error


def check_target(library: Library, device: Device) -> None:
    """Raises :class:`EngineError` for a GPU that the library does not support."""
    target = sm_name(device.capability)
    if library.is_rtx and target not in RTX_TARGETS:
        raise EngineError(
            f"{library.title} does not support {device.name}: it has no target {target}, only "
            f"{', '.join(RTX_TARGETS)}; {install('gpu')} for TensorRT, which does"
        )


def load_engines(library: Library, plans: Sequence[tuple[Path, bytes]]) -> OpenedEngines:
    """Load path and content of the encoder's and the matcher's plan. Raises :class:`EngineError`."""
    encoder, matcher = (Engine(library, content, str(path)) for path, content in plans)
    return OpenedEngines(library, encoder, matcher)


def build_into_cache(bundle: Bundle, name: str, library: Library, device: Device) -> Path:
    """Build the bundle's graph ``name`` for this GPU, into the cache; returns the path of its plan."""
    settings, graph = default_settings(library, device), bundle.manifest.graphs[name]
    engine = build_engine(library, name, graph, bundle.graph_path(name), settings, device=device)
    return write_engine(engine, cached_plan(bundle, name, library, device).parent)


def default_settings(library: Library, device: Device) -> BuildSettings:
    """Settings for one picture at a time on this GPU."""
    return BuildSettings(targets=(sm_name(device.capability),) if library.is_rtx else ())


def cached_plan(bundle: Bundle, name: str, library: Library, device: Device) -> Path:
    """Path in the cache of the engine of the bundle's graph ``name`` for this GPU."""
    graph, settings = bundle.manifest.graphs[name], default_settings(library, device)
    gpu = f"{device.name} {sm_name(device.capability)}"
    return engine_folder(graph, library, settings, gpu) / library.engine_file(name)


def _read_plans(
    paths: Sequence[Path], bundle: Bundle, library: Library, device: Device, trust: bool
) -> list[tuple[Path, bytes]]:
    """Path and content of both plans. Raises :class:`EngineError` for one that does not fit."""
    plans = []
    for name, path in zip(GRAPHS, paths, strict=True):
        content, record = read_plan(path, trust=trust)
        check_loadable(path, record, content, library, gpu_record(device))
        if record is not None and record.onnx_sha256 != bundle.manifest.graphs[name].sha256:
            raise EngineError(f"{path} was built from another {name}: run dcc build again")
        plans.append((path, content))
    return plans
