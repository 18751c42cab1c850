"""The headroom that float16 leaves each step on given frames."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx

from dccnet.calibration.half.candidates import HalfPrecisionCandidates
from dccnet.export.bundles.ranges import LARGEST_FLOAT16, report, run_widened
from dccnet.export.bundles.samples import neighbours
from dccnet.runtime.arrays import Image
from dccnet.runtime.manifest import RangeReport


def measure_headroom(
    candidates: HalfPrecisionCandidates, chosen: Collection[str], pictures: Sequence[Image]
) -> tuple[RangeReport, dict[str, float]]:
    """Run neighbouring ``pictures`` as pairs, with the ``chosen`` steps in float16 but computed in float32.

    Returns the tensors that come closest to overflow, and the headroom of each step: by how much its
    tightest tensor can grow before it overflows.
    """
    models = candidates.graphs(chosen)
    frames = [candidates.bundle.manifest.frames.of(picture) for picture in pictures]
    graphs = run_widened(models, neighbours(frames))
    headroom: dict[str, float] = {}
    for name, model in models.items():
        owners = _owners(model, candidates.steps[name])
        for tensor, largest in graphs[name].largest.items():
            for step in owners.get(tensor.name, ()):
                room = LARGEST_FLOAT16 / max(largest, 1e-30)
                headroom[step] = min(headroom.get(step, np.inf), room)
    return report(graphs), headroom


def _owners(model: onnx.ModelProto, steps: Mapping[str, str]) -> dict[str, set[str]]:
    """The steps that each tensor belongs to: those that compute it or read it."""
    owners: dict[str, set[str]] = {}
    for node in model.graph.node:
        step = steps.get(node.name)
        if step is None:  # an inserted cast
            continue
        for name in (*node.input, *node.output):
            owners.setdefault(name, set()).add(step)
    return owners
