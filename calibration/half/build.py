"""From a float32 bundle to one in half precision, whose float32 islands are those that its frames need."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from dccnet.calibration.groups import Level
from dccnet.calibration.half.halver import Halver
from dccnet.calibration.half.headroom import watch_steps
from dccnet.calibration.loss import Exam
from dccnet.export.bundles.folder import check_replaceable, tool_versions
from dccnet.export.bundles.half import open_as_stored
from dccnet.export.bundles.ranges import REQUIRED_HEADROOM
from dccnet.export.bundles.readback import describe
from dccnet.runtime.bundle import Bundle, Islands, Verification, write_manifest
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.files import atomic_path

HALF = "float16"
SEARCH_HEADROOM = 2 * REQUIRED_HEADROOM
"""What a search asks of its frames, so that its plan has the required headroom on others, too."""


def without_headroom(halver: Halver, level: Level, frames: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    """Groups that must stay float32 lest numbers overflow: each with its headroom on ``frames``."""
    groups = halver.groups(level)
    _, headroom = watch_steps(halver, {step for group in groups for step in group.layers}, frames)
    rooms = {group.name: min(headroom.get(step, np.inf) for step in group.layers) for group in groups}
    return {name: float(room) for name, room in rooms.items() if room < SEARCH_HEADROOM}


def write_halved(
    halver: Halver,
    chosen: Collection[str],
    path: Path,
    exam: Exam,
    frames: Sequence[NDArray[np.uint8]],
    verify: Callable[[Bundle], Verification | None] | None = None,
) -> Bundle:
    """Write the bundle with the steps of these names in float16, compared with what it was.

    Ranges are measured on ``frames``. ``verify`` gives what the manifest says of the written bundle;
    without it that is what was said of the float32 one. It appears whole or not at all; a bundle at
    ``path`` is replaced. Raises :class:`UsageError` for anything else there, and
    :class:`NotVerifiedError` where float16 leaves too little headroom.
    """
    check_replaceable(path)
    manifest = halver.bundle.manifest
    ranges, _ = watch_steps(halver, chosen, frames)
    if not ranges.sufficient:
        tightest = ranges.tightest[0]
        raise NotVerifiedError(
            f"in float16, {tightest.tensor} of the {tightest.graph} could only grow {ranges.headroom:.2g} "
            f"times before it overflows, and {ranges.required_headroom:g} are asked for: nothing was "
            "written; make a plan with frames such as these (dcc calibrate --precision fp16)"
        )
    groups = halver.groups("layer")
    halved = tuple(group.name for group in groups if set(group.layers) <= set(chosen))
    with atomic_path(path) as temporary:
        temporary.mkdir()
        graphs = {}
        for name, model in halver.graphs(chosen).items():
            written = temporary / manifest.graphs[name].file
            onnx.save(model, str(written))
            graphs[name] = describe(written)
        precision = "+".join(sorted({graph.precision for graph in graphs.values()}))
        manifest = dataclasses.replace(
            manifest,
            precision=HALF if HALF in precision else "float32",
            graphs=graphs,
            engines=(),
            tools=manifest.tools | tool_versions(),
        )
        opened = Bundle(temporary, manifest)
        islands = Islands(
            half=halved,
            whole=tuple(group.name for group in groups if group.name not in halved),
            frames=len(frames),
            made_from={name: graph.sha256 for name, graph in halver.bundle.manifest.graphs.items()},
            ranges=ranges,
            agreement=exam.mark(open_as_stored(opened)),
        )
        manifest = dataclasses.replace(
            manifest,
            islands=islands,
            verification=verify(opened) if verify is not None else manifest.verification,
        )
        write_manifest(temporary, manifest)
    return Bundle(path, manifest)
