"""Timing the lowerings of the 4D convolutions on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dccnet.export.graphs import MatcherGraph
from dccnet.export.onnx_file import write_onnx
from dccnet.network.conv4d import LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Array
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.runtime.turns import medians, take_turns

ROUNDS = 5


def time_lowerings(
    model: DCCNet,
    features: dict[str, Array],
    folder: Path,
    on_candidate: Callable[[str], None] = lambda name: None,
) -> dict[str, float]:
    """Median seconds of the matcher in ONNX Runtime on this CPU with every lowering, fastest first.

    ``features`` are the matcher's inputs for one pair. Trial graphs are written to ``folder`` and removed
    again. ``on_candidate`` is called with a description of each step that follows. Leaves ``model`` with
    the last of the lowerings.
    """
    runs = {}
    for name, lowering in LOWERINGS.items():
        on_candidate(name)
        trial = folder / f"trial-{name}.onnx"
        model.lower(lowering)
        write_onnx(MatcherGraph(model, heatmaps=False), trial)
        runs[name] = partial(OnnxRuntimeGraph(trial).run, features)
        trial.unlink()
    on_candidate("taking turns")
    return medians(take_turns(runs, ROUNDS))
