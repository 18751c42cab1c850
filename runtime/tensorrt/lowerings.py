"""Choosing the matcher's lowering by timing its engines on the GPU that will run them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import EngineError, NotVerifiedError, UsageError
from dccnet.runtime.manifest import MATCHER, LoweringTimes
from dccnet.runtime.tensorrt.builder import BuildSettings, BuiltEngine
from dccnet.runtime.tensorrt.bundled import build_graph
from dccnet.runtime.tensorrt.gpu_record import gpu_record
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.tensorrt.opening import check_target, compare_built
from dccnet.runtime.tensorrt.runner import BoundEngine, Engine

REPEATS = 50
"""Runs that the time of an engine is the mean of."""


def fastest_matcher(
    bundle: Bundle,
    encoder: BuiltEngine,
    library: Library,
    settings: BuildSettings,
    device: Device | None,
    on_step: Callable[[str], None] = lambda description: None,
    on_phase: Callable[[str], None] = lambda phase: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> BuiltEngine:
    """The fastest engine of the matcher among the lowerings that the bundle carries, with their times.

    Each one is compared with the graphs, beside the ``encoder``; ``on_note`` is called for those that
    disagree or cannot be built. Raises :class:`UsageError` for a bundle with one lowering, and where no GPU
    here runs the engines; :class:`EngineError` where none is left.
    """
    manifest = bundle.manifest
    if not manifest.lowerings:
        raise UsageError(
            f"{bundle.path} carries one lowering of the matcher, {manifest.conv4d.lowering}: export it "
            "again with dcc export --conv4d all, or remove --conv4d auto"
        )
    if device is None:
        raise UsageError(
            "--conv4d auto times engines on the GPU that will run them, and there is none here: name a "
            "lowering, or run dcc build on that machine"
        )
    check_target(library, device)
    built: dict[str, BuiltEngine] = {}
    for name in (manifest.conv4d.lowering, *manifest.lowerings):
        on_step(f"compiling and timing the matcher: {name}")
        try:
            engine = build_graph(bundle.with_lowering(name), MATCHER, library, settings, on_phase, device)
            _, built[name] = compare_built(bundle, library, [encoder, engine], device, on_note)
        except (EngineError, NotVerifiedError) as error:
            on_note(f"{name} is left out: {error}")
    milliseconds = time_engines(library, {name: engine.plan for name, engine in built.items()}, device)
    if not milliseconds:
        raise EngineError("no lowering of the matcher can be built and agrees with its graph")
    fastest = built[next(iter(milliseconds))]
    times = LoweringTimes(gpu_record(device), milliseconds)
    return dataclasses.replace(fastest, record=dataclasses.replace(fastest.record, times=times))


def time_engines(library: Library, plans: Mapping[str, bytes], device: Device) -> dict[str, float]:
    """Milliseconds of one run of each engine on the GPU's own clock, fastest first."""
    found: dict[str, float] = {}
    with device.activate(), contextlib.ExitStack() as undo:
        stream = device.create_stream()
        undo.callback(device.destroy_stream, stream)
        for name, plan in plans.items():
            with contextlib.ExitStack() as closing:  # one engine at a time is in memory
                engine = Engine(library, plan, name)
                closing.callback(engine.close)
                bound = BoundEngine(engine, device, stream)
                closing.callback(bound.close)
                found[name] = bound.milliseconds(REPEATS)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def describe_times(times: LoweringTimes) -> str:
    """One sentence with the table."""
    fastest = next(iter(times.milliseconds))
    return f"4D convolutions: {fastest}; one run of the matcher on {times.gpu.name}: {times.table}"
