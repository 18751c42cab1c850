"""Measures every way to run each graph, in turns, and chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from dccnet.calibration.agreement import TestPair
from dccnet.calibration.tuning.agreement import Judge
from dccnet.calibration.tuning.candidates import ways_on_gpu
from dccnet.runtime.backend import matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.runtime.tuning.choice import (
    SCHEMA,
    USUAL,
    Choice,
    Measured,
    Way,
    digests,
    packages,
    this_machine,
)
from dccnet.runtime.tuning.opening import open_graph, open_ways
from dccnet.runtime.turns import take_turns

_Name = Literal["encoder", "matcher"]
NAMES: tuple[_Name, _Name] = ("encoder", "matcher")

WORTH = 0.95
"""Another way than the usual one is chosen where it takes at most this share of its time: less is noise."""


def tune(
    bundle: Bundle,
    ways: Sequence[Way],
    pairs: Sequence[TestPair],
    rounds: int,
    on_step: Callable[[str], None] = lambda text: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Choice:
    """The fastest of ``ways``, whose first is the usual one, for each graph, and of those on a GPU.

    ``pairs`` are real pictures; the first pair is what is timed. Of each graph, one run of every way takes
    its turn in each of ``rounds`` rounds. Ways that cannot be opened, and why, go to ``on_note``; ways that
    answer otherwise than ONNX Runtime on the CPU are measured, and not chosen. Raises :class:`DccError`
    where not even that runs.
    """
    reference = {name: OnnxRuntimeGraph(bundle.graph_path(name)) for name in (ENCODER, MATCHER)}
    judge = Judge(bundle, reference[ENCODER], reference[MATCHER], pairs)
    formatted = bundle.manifest.frames
    frames = [formatted.of(picture) for picture in (pairs[0].a, pairs[0].b)]
    features = [reference[ENCODER].run({"frame": frame[None]}) for frame in frames]
    inputs: dict[str, Mapping[str, Any]] = {
        ENCODER: {"frame": frames[0][None]},
        MATCHER: matcher_inputs(*features),
    }
    measured: list[Measured] = []
    for name in NAMES:
        measured += _measure_graph(bundle, name, ways, inputs[name], judge, rounds, on_step, on_note)
    measured += _measure_on_gpu(bundle, frames, rounds, on_step, on_note)
    encoder, matcher = choose(measured)
    return Choice(
        SCHEMA,
        digests(bundle.manifest),
        this_machine(),
        packages(),
        encoder,
        matcher,
        rounds,
        tuple(measured),
    )


def choose(measured: Sequence[Measured]) -> tuple[Way, Way]:
    """The ways of encoder and matcher that take the least time together."""
    sound = [each for each in measured if each.problem is None]
    on_host = {
        name: _fastest([each for each in sound if each.graph == name and not each.way.on_gpu])
        for name in (ENCODER, MATCHER)
    }
    pairs = [(on_host[ENCODER], on_host[MATCHER])]
    for each in sound:
        if each.way.on_gpu and each.graph == ENCODER:
            pairs += [(each, other) for other in sound if other.graph == MATCHER and other.way == each.way]
    best = min(pairs, key=lambda pair: sum(each.milliseconds for each in pair))
    return best[0].way, best[1].way


def _fastest(measured: Sequence[Measured]) -> Measured:
    usual = next(each for each in measured if each.way == USUAL)
    best = min(measured, key=lambda each: each.milliseconds)
    return best if best.milliseconds <= WORTH * usual.milliseconds else usual


def _measure_graph(
    bundle: Bundle,
    name: _Name,
    ways: Sequence[Way],
    inputs: Mapping[str, Any],
    judge: Judge,
    rounds: int,
    on_step: Callable[[str], None],
    on_note: Callable[[str], None],
) -> list[Measured]:
    runs: dict[Way, Callable[[], object]] = {}
    problems: dict[Way, str | None] = {}
    judged: dict[Way, str | None] = {}  # without threads, which change no answer
    for way in ways:
        on_step(f"{name} in {way.title}")
        try:
            graph = open_graph(bundle, name, way)
            kind = Way(way.backend, way.provider, 0, way.bf16)
            if way.backend != USUAL.backend or way.provider != USUAL.provider:
                if kind not in judged:
                    judged[kind] = judge.problem(name, graph, way.bf16)
                problems[way] = judged[kind]
            graph.run(inputs)
        except DccError as error:
            if way == USUAL:
                raise
            on_note(f"{name} in {way.title}: {error}")
            continue
        runs[way] = partial(graph.run, inputs)
    return _timed(name, runs, problems, rounds, on_step)


def _measure_on_gpu(
    bundle: Bundle,
    frames: Sequence[Any],
    rounds: int,
    on_step: Callable[[str], None],
    on_note: Callable[[str], None],
) -> list[Measured]:
    """Ways whose features stay on the GPU. They are compared with the CPU when they are opened."""
    encoders: dict[Way, Callable[[], object]] = {}
    matchers: dict[Way, Callable[[], object]] = {}
    opened = []
    for way in ways_on_gpu(bundle):
        on_step(f"both graphs in {way.title}")
        try:
            backend = open_ways(bundle, way, way, on_note)
            a, b = (backend.encode(frame) for frame in frames)
            backend.match(a, b)
        except DccError as error:
            on_note(f"both graphs in {way.title}: {error}")
            continue
        opened.append(backend)
        encoders[way] = partial(backend.encode, frames[0])
        matchers[way] = partial(backend.match, a, b)
    found = _timed(NAMES[0], encoders, {}, rounds, on_step) + _timed(
        NAMES[1], matchers, {}, rounds, on_step
    )
    for backend in opened:
        backend.close()
    return found


def _timed(
    name: _Name,
    runs: Mapping[Way, Callable[[], object]],
    problems: Mapping[Way, str | None],
    rounds: int,
    on_step: Callable[[str], None],
) -> list[Measured]:
    if not runs:
        return []
    on_step(f"{name}: {rounds} turns of {len(runs)}")
    by_title = {way.title: way for way in runs}
    seconds = take_turns({way.title: run for way, run in runs.items()}, rounds)
    found = []
    for title, values in seconds.items():
        first, middle, third = (float(value) for value in 1e3 * np.quantile(values, (0.25, 0.5, 0.75)))
        way = by_title[title]
        found.append(Measured(name, way, middle, third / first, problems.get(way)))
    return sorted(found, key=lambda each: each.milliseconds)
