"""The engines of a bundle for one GPU: from the bundle, from the cache, or built on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import DccError, EngineError
from dccnet.runtime.extras import install
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.tensorrt.builder import BuildSettings, build_engine
from dccnet.runtime.tensorrt.cache import engine_folder
from dccnet.runtime.tensorrt.library import RTX_TARGETS, Library, installed_libraries
from dccnet.runtime.tensorrt.plan import check_loadable, read_plan, sidecar_path, write_engine
from dccnet.runtime.tensorrt.runner import Engine

Note = Callable[[str], None]


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
    for library in libraries:
        plans = _find_plans(bundle, library, device, trust, on_note)
        if plans is not None:
            return load_engines(library, plans)
    problems = []
    for library in libraries:
        on_note(f"building engines with {library.title} for {device.name}; this is done once")
        try:
            paths = [build_into_cache(bundle, name, library, device) for name in (ENCODER, MATCHER)]
            return load_engines(library, [(path, path.read_bytes()) for path in paths])
        except DccError as error:
            problems.append(str(error))
    raise EngineError("; ".join(problems))


def load_engines(library: Library, plans: Sequence[tuple[Path, bytes]]) -> OpenedEngines:
    """Load path and content of the encoder's and the matcher's plan. Raises :class:`EngineError`."""
    encoder, matcher = (Engine(library, content, str(path)) for path, content in plans)
    return OpenedEngines(library, encoder, matcher)


def build_into_cache(bundle: Bundle, name: str, library: Library, device: Device) -> Path:
    """Build the bundle's graph ``name`` for this GPU, into the cache; returns the path of its plan."""
    settings = default_settings(library, device)
    graph = bundle.manifest.graphs[name]
    engine = build_engine(library, name, graph, bundle.graph_path(name), settings, device=device)
    return write_engine(engine, engine_folder(graph, library, settings, _gpu_title(device)))


def default_settings(library: Library, device: Device) -> BuildSettings:
    """Settings for one picture at a time on this GPU."""
    target = "sm{}{}".format(*device.capability)
    return BuildSettings(targets=(target,) if library.is_rtx and target in RTX_TARGETS else ())


def _find_plans(
    bundle: Bundle, library: Library, device: Device, trust: bool, on_note: Note
) -> list[tuple[Path, bytes]] | None:
    """Both plans, from the bundle or else from the cache; None where one is missing or does not fit."""
    in_bundle = [bundle.path / library.engine_file(name) for name in (ENCODER, MATCHER)]
    settings = default_settings(library, device)
    in_cache = [
        engine_folder(bundle.manifest.graphs[name], library, settings, _gpu_title(device)) / path.name
        for name, path in zip((ENCODER, MATCHER), in_bundle, strict=True)
    ]
    for paths in (in_bundle, in_cache):
        if not all(path.exists() for path in paths):
            continue
        try:
            plans = []
            for name, path in zip((ENCODER, MATCHER), paths, strict=True):
                content, record = read_plan(path, trust=trust)
                check_loadable(path, record, content, library, device.capability)
                if record is not None and record.onnx_sha256 != bundle.manifest.graphs[name].sha256:
                    raise EngineError(f"{path} was built from another {name}: run dcc build again")
                plans.append((path, content))
            return plans
        except EngineError as error:
            if not sidecar_path(paths[0]).exists():
                raise  # a plan without sidecar needs the user's decision: it is not replaced silently
            on_note(f"passed over: {error}")
    return None


def _gpu_title(device: Device) -> str:
    return "{} sm{}{}".format(device.name, *device.capability)
