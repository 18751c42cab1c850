"""Which lowering of the 4D convolutions a machine runs fastest, by trying."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dccnet.export.graphs import MatcherGraph
from dccnet.export.onnx_file import write_onnx
from dccnet.network.conv4d import LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Array
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph

ROUNDS = 5


def time_lowerings(
    model: DCCNet,
    features: dict[str, Array],
    folder: Path,
    on_candidate: Callable[[str], None] = lambda name: None,
) -> dict[str, float]:
    """Median seconds of the matcher in ONNX Runtime on this CPU, for every lowering, fastest first.

    ``features`` are the matcher's inputs for one pair; the trial graphs go to ``folder`` and are removed.
    After one run each to warm up, the candidates take turns, so that what else the machine does meets
    them all.
    """
    runners = {}
    for name, lowering in LOWERINGS.items():
        on_candidate(name)
        trial = folder / f"trial-{name}.onnx"
        model.lower(lowering)
        write_onnx(MatcherGraph(model, heatmaps=False), trial)
        runners[name] = OnnxRuntimeGraph(trial)
        trial.unlink()
        runners[name].run(features)
    on_candidate("taking turns")
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, runner in runners.items():
            started = time.perf_counter()
            runner.run(features)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return dict(sorted(medians.items(), key=lambda item: item[1]))
