"""Timing the lowerings of the 4D convolutions on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dccnet.export.graphs import MatcherGraph
from dccnet.export.onnx_file import write_onnx
from dccnet.network.conv4d import EXPORT_LOWERINGS, NotSeparableError
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Array
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.runtime.turns import medians, take_turns

ROUNDS = 5
SEPARABLE = "separable"


def suitable_lowerings(model: DCCNet) -> list[str]:
    """Names in :data:`EXPORT_LOWERINGS`, in its order, of those that the network's kernels can have."""
    suitable = list(EXPORT_LOWERINGS)
    try:
        for consensus in model.consensus_networks():
            EXPORT_LOWERINGS[SEPARABLE].fitted(consensus.weights)
    except NotSeparableError:
        suitable.remove(SEPARABLE)
    return suitable


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
    for name in suitable_lowerings(model):
        on_candidate(name)
        trial = folder / f"trial-{name}.onnx"
        model.lower(EXPORT_LOWERINGS[name])
        write_onnx(MatcherGraph(model, heatmaps=False), trial)
        runs[name] = partial(OnnxRuntimeGraph(trial).run, features)
        trial.unlink()
    on_candidate("taking turns")
    return medians(take_turns(runs, ROUNDS))
