"""Time several functions in turns, so that other load on the machine affects all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Call every function of ``ways`` once in each of ``rounds`` rounds, after one round to warm up.

    Returns the seconds of each call by the function's name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median seconds by name, fastest first."""
    by_name = {name: statistics.median(values) for name, values in seconds.items()}
    return dict(sorted(by_name.items(), key=lambda item: item[1]))
