"""From a float32 bundle to a half-precision one whose float32 islands are those that its frames need."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx

from dccnet.calibration.agreement import AgreementTest
from dccnet.calibration.groups import Level
from dccnet.calibration.half.candidates import HalfPrecisionCandidates
from dccnet.calibration.half.headroom import measure_headroom
from dccnet.export.bundles.folder import check_replaceable, tool_versions
from dccnet.export.bundles.ranges import REQUIRED_HEADROOM
from dccnet.export.bundles.readback import describe_onnx
from dccnet.export.bundles.rounding import open_with_rounding
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.manifest import Islands

HALF = "float16"
SEARCH_HEADROOM = 2 * REQUIRED_HEADROOM
"""Headroom that a search requires on its frames, so that its plan has the required headroom on others."""


def groups_without_headroom(
    candidates: HalfPrecisionCandidates, level: Level, frames: Sequence[Image]
) -> dict[str, float]:
    """Groups that must stay float32 because they could overflow, each with its headroom on ``frames``."""
    groups = candidates.groups(level)
    _, headroom = measure_headroom(candidates, {step for group in groups for step in group.layers}, frames)
    rooms = {group.name: min(headroom.get(step, np.inf) for step in group.layers) for group in groups}
    return {name: float(room) for name, room in rooms.items() if room < SEARCH_HEADROOM}


def write_half_bundle(
    candidates: HalfPrecisionCandidates,
    chosen: Collection[str],
    path: Path,
    test: AgreementTest,
    frames: Sequence[Image],
) -> Bundle:
    """Write the bundle with the steps of these names in float16, and its agreement with the float32 one.

    Ranges are measured on ``frames``. The bundle is written completely or not at all; a bundle at ``path``
    is replaced. Raises :class:`UsageError` where ``path`` is anything else, and :class:`NotVerifiedError`
    where float16 leaves too little headroom.
    """
    check_replaceable(path)
    manifest = candidates.bundle.manifest
    ranges, _ = measure_headroom(candidates, chosen, frames)
    if not ranges.sufficient:
        tightest = ranges.tightest[0]
        raise NotVerifiedError(
            f"in float16, {tightest.tensor} of the {tightest.graph} could only grow {ranges.headroom:.2g} "
            f"times before it overflows, and {ranges.required_headroom:g} are required: nothing was "
            "written; make a plan with frames such as these (dcc calibrate --precision fp16)"
        )
    groups = candidates.groups("layer")
    half = tuple(group.name for group in groups if set(group.layers) <= set(chosen))
    with atomic_path(path) as temporary:
        temporary.mkdir()
        graphs = {}
        for name, model in candidates.graphs(chosen).items():
            written = temporary / manifest.graphs[name].file
            onnx.save(model, str(written))
            graphs[name] = describe_onnx(written)
        precision = "+".join(sorted({graph.precision for graph in graphs.values()}))
        manifest = dataclasses.replace(
            manifest,
            precision=HALF if HALF in precision else "float32",
            graphs=graphs,
            lowerings={},
            engines=(),
            confidence=None,  # of other matches
            tools=manifest.tools | tool_versions(),
        )
        islands = Islands(
            half=half,
            whole=tuple(group.name for group in groups if group.name not in half),
            frames=len(frames),
            made_from={name: graph.sha256 for name, graph in candidates.bundle.manifest.graphs.items()},
            ranges=ranges,
            agreement=test.measure(open_with_rounding(Bundle(temporary, manifest))),
        )
        manifest = dataclasses.replace(manifest, islands=islands)
        write_manifest(temporary, manifest)
    return Bundle(path, manifest)
