"""Half precision, verified on pictures, and engines compiled for GPUs that this machine lacks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dccnet.export.build import STEPS, export_bundle
from dccnet.export.bundles.samples import PICTURES
from dccnet.export.outcome import failure, summary
from dccnet.network.model import DCCNet
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.console import note, steps
from dccnet.runtime.errors import EngineError, NotVerifiedError
from dccnet.runtime.images import find_images
from dccnet.runtime.manifest import EngineRecord
from dccnet.runtime.tensorrt.builder import BuildSettings
from dccnet.runtime.tensorrt.bundled import add_engines, build_engines
from dccnet.runtime.tensorrt.bundled import summary as engine_summary
from dccnet.runtime.tensorrt.library import RTX, load_library

TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120")


@dataclasses.dataclass(frozen=True, slots=True)
class HalfReport:
    """What the demo measured in half precision."""

    identical_cells: float
    """Share of cells with the same best match as in float32, among those that lead by :attr:`margin`."""
    margin: float
    headroom: float
    """Factor by which the largest value of any float16 tensor could grow before it overflows."""
    engines: tuple[EngineRecord, ...]
    """Empty if TensorRT-RTX is not available for this machine."""


def export_half_precision(model: DCCNet, conv4d: str, path: Path) -> tuple[Bundle, HalfReport]:
    """Write a bundle in half precision to ``path``, with engines if TensorRT-RTX is installed."""
    with steps("exporting in half precision", STEPS) as step:
        bundle = export_bundle(model, path, find_images(PICTURES), conv4d=conv4d, half=True, on_step=step)
    found = bundle.manifest.verification
    assert found is not None and found.ranges is not None
    if (problem := failure(found)) is not None:
        raise NotVerifiedError(f"{path}: {problem}")
    note(f"     {summary(found)}")
    try:
        library = load_library(RTX)
    except EngineError as error:
        note(f"     no engines: {error}")
    else:
        with steps("compiling", len(bundle.manifest.graphs)) as step:
            engines = build_engines(bundle, library, BuildSettings(targets=TARGETS), step, step.detail)
        bundle = add_engines(bundle, engines)
        for engine in engines:
            note(f"     {engine_summary(engine.record)}")
    return bundle, HalfReport(
        found.identical_cells, found.margin, found.ranges.headroom, bundle.manifest.engines
    )
