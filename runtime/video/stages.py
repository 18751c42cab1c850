"""The stages between a source's frame and its result: generators, which may run in separate threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dccnet.runtime.batching import encode_seen, match_each
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError
from dccnet.runtime.features import Features, check_image
from dccnet.runtime.video.captures import BetweenFramesError, DamagedError
from dccnet.runtime.video.pipeline import close_iterator
from dccnet.runtime.video.propagation.carrier import Carried, Carrier
from dccnet.runtime.video.references import Reference
from dccnet.runtime.video.sources import FrameSource
from dccnet.runtime.video.timing import StageTimes
from dccnet.runtime.views.ways import AskedPair, see

if TYPE_CHECKING:
    from dccnet.runtime.matcher import Matcher

Candidates = tuple[tuple[Reference, Features], ...]
"""The references that a frame is matched with; the best one is chosen."""


@dataclass(slots=True)
class FrameTask:
    """A frame and what the stages have computed for it so far."""

    index: int
    time_s: float
    image: Any
    arrived_s: float
    """On the clock ``time.monotonic``."""
    timings: dict[str, float]
    """Seconds by stage."""
    features: Features | None = None
    reference: Reference | None = None
    correspondences: Correspondences | None = None
    carried: Carried | None = None


@dataclass(slots=True)
class StreamState:
    """What the threads of a stream share."""

    matcher: Matcher
    batch: int
    on_note: Callable[[str], None]
    times: StageTimes = field(default_factory=StageTimes)
    unreadable: int = 0
    damaged: int = 0
    reconnected: int = 0
    references: Candidates = ()
    """Replaced as a whole, so that a frame meets either the old or the new ones. Empty: each frame is
    matched with the frame before it."""

    def hear(self, note: BetweenFramesError) -> None:
        """Count it, and report it unless it is mostly a consequence of an earlier one."""
        if isinstance(note, DamagedError):
            self.damaged += 1
            if self.damaged > 1:
                return
        else:
            self.reconnected += 1
        self.on_note(str(note))


def decode(state: StreamState, frames: Iterator[Any], source: FrameSource) -> Iterator[FrameTask]:
    """Number and time the frames; skip, count and report those that cannot be read.

    Times are seconds from the first frame: by the time stamps of a video file, by the rate of pictures, by
    the clock for a live source. A frame that is not a picture raises :class:`ImageError` here, so that the
    frames before it are still processed.
    """
    try:
        index, started = 0, None
        while True:
            timings: dict[str, float] = {}
            with state.times.measure("decode", timings):
                image = next(frames, None)
            if image is None:
                return
            now = time.monotonic()
            started = now if started is None else started
            if isinstance(image, BetweenFramesError):
                state.hear(image)
                continue
            if isinstance(image, DccError):
                state.unreadable += 1
                state.on_note(f"{image}; skipped")
            else:
                if isinstance(image, np.ndarray):
                    check_image(image)
                if source.live:
                    time_s = now - started
                else:
                    time_s = index / source.rate if source.stamps is None else source.stamps.time_s
                yield FrameTask(index, round(time_s, 6), image, now, timings)
                del image  # not kept alive while the next frame is decoded
            index += 1
    finally:
        close_iterator(frames)


def encode(state: StreamState, tasks: Iterable[FrameTask]) -> Iterator[FrameTask]:
    """Compute the features of each frame, ``batch`` frames at once."""
    matcher = state.matcher
    for group in _groups(tasks, state.batch):
        timings = [task.timings for task in group]
        on_host = all(isinstance(task.image, np.ndarray) for task in group)
        if on_host:
            with state.times.measure("resize", *timings):
                seen = [see(task.image, matcher.ways.target, matcher.manifest.frames) for task in group]
        with state.times.measure("encode", *timings):
            if on_host:
                encoded = encode_seen(matcher.backend, seen, state.batch)
                for task, features in zip(group, encoded, strict=True):
                    task.features = features
            else:
                for task in group:
                    task.features = matcher.encode(task.image)
        yield from group


def match(state: StreamState, tasks: Iterable[FrameTask]) -> Iterator[FrameTask]:
    """Match each frame with its best reference."""
    previous: FrameTask | None = None
    for group in _groups(tasks, state.batch):
        candidates: list[Candidates] = []
        for task in group:
            candidates.append(state.references or (_as_candidate(previous or task),))
            previous = task
        with state.times.measure("match", *[task.timings for task in group]):
            results = iter(_match_all(state, group, candidates))
            for task, tried in zip(group, candidates, strict=True):
                pairs = [(next(results), reference) for reference, _ in tried]
                best = max(pairs, key=lambda pair: agreement(pair[0])) if len(pairs) > 1 else pairs[0]
                task.correspondences, task.reference = best
        yield from group


def carry(state: StreamState, tasks: Iterable[FrameTask], carrier: Carrier) -> Iterator[FrameTask]:
    """Carry the reference's points, mask and boxes to each frame."""
    for task in tasks:
        assert task.reference is not None and task.correspondences is not None
        with state.times.measure("carry", task.timings):
            task.carried = carrier.carry(task.reference, task.correspondences, task.time_s, task.image)
        yield task


def agreement(result: Correspondences) -> float:
    """How well two pictures match: the mean score over the cells of A, with 0 for cells without a mutual
    match."""
    agree, scores = result.mutual_scores()
    return float(scores[agree].sum() / result.index_a.size)


def _match_all(
    state: StreamState, group: list[FrameTask], candidates: list[Candidates]
) -> list[Correspondences]:
    pairs: list[AskedPair] = []
    for task, tried in zip(group, candidates, strict=True):
        assert task.features is not None
        pairs += [AskedPair(features, task.features, state.matcher.ways) for _, features in tried]
    return [result() for result in match_each(state.matcher, pairs, state.batch)]


def _as_candidate(task: FrameTask) -> tuple[Reference, Features]:
    assert task.features is not None
    return Reference(task.image, f"frame:{task.index}"), task.features


def _groups(tasks: Iterable[FrameTask], size: int) -> Iterator[list[FrameTask]]:
    """Groups of ``size`` tasks. An error is raised after the tasks before it, even if their group is not
    full."""
    group: list[FrameTask] = []
    failure: Exception | None = None
    try:
        for task in tasks:
            group.append(task)
            if len(group) == size:
                yield group
                group = []
    except Exception as error:
        failure = error
    if group:
        yield group
    if failure is not None:
        raise failure
