"""How much room float16 leaves each step, on given frames."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from dccnet.calibration.half.halver import Halver
from dccnet.export.bundles.ranges import LARGEST_FLOAT16, report, watch
from dccnet.runtime.bundle import RangeReport


def watch_steps(
    halver: Halver, chosen: Collection[str], frames: Sequence[NDArray[np.uint8]]
) -> tuple[RangeReport, dict[str, float]]:
    """Run neighbouring frames as pairs with steps in float16, computed in float32.

    Returns the tightest tensors, and for each step by how much its tightest could grow before it overflows.
    """
    models = halver.graphs(chosen)
    with tempfile.TemporaryDirectory() as scratch:
        paths = {name: Path(scratch) / f"{name}.onnx" for name in models}
        for name, model in models.items():
            onnx.save(model, str(paths[name]))
        graphs = watch(paths, zip(frames, [*frames[1:], frames[0]], strict=True))
    headroom: dict[str, float] = {}
    for name, model in models.items():
        owners = _owners(model, halver.steps[name])
        for tensor, largest in graphs[name].largest.items():
            for step in owners.get(tensor.name, ()):
                room = LARGEST_FLOAT16 / max(largest, 1e-30)
                headroom[step] = min(headroom.get(step, np.inf), room)
    return report(graphs), headroom


def _owners(model: onnx.ModelProto, steps: Mapping[str, str]) -> dict[str, set[str]]:
    """The steps that a tensor in float16 is there for: what makes it, and what reads a cast or a weight."""
    owners: dict[str, set[str]] = {}
    for node in model.graph.node:
        step = steps.get(node.name)
        if step is None:  # a cast
            continue
        for name in (*node.input, *node.output):
            owners.setdefault(name, set()).add(step)
    return owners
