"""Making a bundle's engines for ``dcc build`` and ``dcc export --format engine``: built, then compared."""

from __future__ import annotations

from collections.abc import Callable

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device, cuda_problem, open_device
from dccnet.runtime.errors import UsageError
from dccnet.runtime.manifest import ENCODER
from dccnet.runtime.selection import gpu_index
from dccnet.runtime.tensorrt.builder import BuildSettings, BuiltEngine
from dccnet.runtime.tensorrt.bundled import build_engines, build_graph
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.tensorrt.lowerings import fastest_matcher
from dccnet.runtime.tensorrt.opening import compare_built

AUTO = "auto"


def make_engines(
    bundle: Bundle,
    library: Library,
    settings: BuildSettings,
    gpu: Device | None,
    conv4d: str | None = None,
    on_step: Callable[[str], None] = lambda description: None,
    on_phase: Callable[[str], None] = lambda phase: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> list[BuiltEngine]:
    """Both engines, compared with their graphs if ``gpu`` runs them; nothing is written.

    ``conv4d`` is a lowering that the bundle carries, ``auto`` for the fastest of them on ``gpu``, or None
    for the bundle's own. ``on_note`` is told what could not be checked. Raises the errors of
    :func:`~dccnet.runtime.tensorrt.builder.build_engine` and
    :func:`~dccnet.runtime.tensorrt.lowerings.fastest_matcher`, and :class:`NotVerifiedError` where the
    engines disagree with their graphs.
    """
    if conv4d not in (None, AUTO):
        bundle = bundle.with_lowering(conv4d)
    if conv4d == AUTO:
        on_step(f"compiling the encoder with {library.title}")
        encoder = build_graph(bundle, ENCODER, library, settings, on_phase, gpu)
        arguments = (bundle, encoder, library, settings, gpu, on_step, on_phase, on_note)
        engines = [encoder, fastest_matcher(*arguments)]
    else:
        engines = build_engines(bundle, library, settings, on_step, on_phase, gpu)
    for engine in engines:
        for warning in engine.warnings:
            on_note(warning)
    return compare_built(bundle, library, engines, gpu, on_note)


def open_gpu(device: str = AUTO) -> Device | None:
    """The requested GPU; for ``auto``, the first one, or None where there is none.

    Raises :class:`UsageError` and :class:`EngineError`.
    """
    if device == "cpu":
        raise UsageError("engines are for GPUs: remove --device cpu")
    index = gpu_index(device)
    if index is None and cuda_problem() is not None:
        return None
    return open_device(index or 0)
