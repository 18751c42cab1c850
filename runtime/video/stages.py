"""What happens to a frame between its source and its result, a generator for each thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dccnet.runtime.backend import Tensors
from dccnet.runtime.batching import encode_all, match_all
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError
from dccnet.runtime.features import Features, check_image
from dccnet.runtime.geometry import Size, resize_uint8
from dccnet.runtime.video.pipeline import close_iterator
from dccnet.runtime.video.propagation.carrier import Carried, Carrier
from dccnet.runtime.video.references import Reference
from dccnet.runtime.video.timing import StageTimes

if TYPE_CHECKING:
    from dccnet.runtime.matcher import Matcher


@dataclass(slots=True)
class Work:
    """A frame on its way."""

    index: int
    time_s: float
    image: Any
    arrived: float
    """On ``time.monotonic``."""
    timings: dict[str, float]
    features: Features | None = None
    reference: Reference | None = None
    correspondences: Correspondences | None = None
    carried: Carried | None = None


@dataclass(slots=True)
class Shared:
    """What the threads of a stream have in common."""

    matcher: Matcher
    batch: int
    on_note: Callable[[str], None]
    times: StageTimes = field(default_factory=StageTimes)
    unreadable: int = 0
    references: tuple[tuple[Reference, Features], ...] = ()
    """Replaced as a whole, so that a frame meets the old ones or the new. Empty: each frame's is the one
    before it."""


def decode(shared: Shared, frames: Iterator[Any], rate: float, live: bool) -> Iterator[Work]:
    """Number and time the frames; leave out, count and tell of those that cannot be read.

    What is no picture at all is an error, raised here so that it comes after the frames before it. Times
    are seconds from the first frame: of a file by its rate, of a live source by the clock.
    """
    try:
        index, started = 0, None
        while True:
            timings: dict[str, float] = {}
            with shared.times.measure("decode", timings):
                image = next(frames, None)
            if image is None:
                return
            now = time.monotonic()
            started = now if started is None else started
            if isinstance(image, DccError):
                shared.unreadable += 1
                shared.on_note(f"{image}; skipped")
            else:
                if isinstance(image, np.ndarray):
                    check_image(image)
                time_s = now - started if live else index / rate
                yield Work(index, round(time_s, 6), image, now, timings)
                del image
            index += 1
    finally:
        close_iterator(frames)


def encode(shared: Shared, works: Iterable[Work]) -> Iterator[Work]:
    """Features for each frame, ``batch`` of them at once."""
    matcher = shared.matcher
    for group in _groups(works, shared.batch):
        timings = [work.timings for work in group]
        on_host = all(isinstance(work.image, np.ndarray) for work in group)
        if on_host:
            with shared.times.measure("resize", *timings):
                frames = [resize_uint8(work.image, matcher.manifest.image_size) for work in group]
        with shared.times.measure("encode", *timings):
            if on_host:
                encoded = encode_all(matcher.backend, frames, shared.batch)
                for work, tensors in zip(group, encoded, strict=True):
                    work.features = Features(tensors, _size(work.image))
            else:
                for work in group:
                    work.features = matcher.encode(work.image)
        yield from group


def match(shared: Shared, works: Iterable[Work]) -> Iterator[Work]:
    """The correspondences of each frame with the reference that fits it best."""
    previous: Work | None = None
    for group in _groups(works, shared.batch):
        candidates: list[tuple[tuple[Reference, Features], ...]] = []
        for work in group:
            candidates.append(shared.references or (_as_previous(previous or work),))
            previous = work
        with shared.times.measure("match", *[work.timings for work in group]):
            results = iter(_match_all(shared, group, candidates))
            for work, tried in zip(group, candidates, strict=True):
                found = [(next(results), reference) for reference, _ in tried]
                best = max(found, key=lambda pair: agreement(pair[0])) if len(found) > 1 else found[0]
                work.correspondences, work.reference = best
        yield from group


def carry(shared: Shared, works: Iterable[Work], carrier: Carrier) -> Iterator[Work]:
    """The reference's points, mask and boxes in each frame."""
    for work in works:
        assert work.reference is not None and work.correspondences is not None
        with shared.times.measure("carry", work.timings):
            work.carried = carrier.carry(work.reference, work.correspondences, work.time_s)
        yield work


def agreement(result: Correspondences) -> float:
    """How well two pictures fit: the mean score over the cells of A, 0 for those without mutual match."""
    return float(result.mutual().scores.sum() / result.index_a.size)


def _match_all(
    shared: Shared, group: list[Work], candidates: list[tuple[tuple[Reference, Features], ...]]
) -> list[Correspondences]:
    pairs: list[tuple[Tensors, Tensors]] = []
    sizes: list[tuple[Size, Size]] = []
    for work, tried in zip(group, candidates, strict=True):
        assert work.features is not None
        for _, features in tried:
            pairs.append((features.tensors, work.features.tensors))
            sizes.append((features.size, work.features.size))
    outputs = match_all(shared.matcher.backend, pairs, shared.batch)
    return [
        shared.matcher.correspondences(a, b, output) for (a, b), output in zip(sizes, outputs, strict=True)
    ]


def _as_previous(work: Work) -> tuple[Reference, Features]:
    assert work.features is not None
    return Reference(work.image, f"frame:{work.index}"), work.features


def _groups(works: Iterable[Work], size: int) -> Iterator[list[Work]]:
    """An error comes after the frames before it, although their group is not full."""
    group: list[Work] = []
    failure: Exception | None = None
    try:
        for work in works:
            group.append(work)
            if len(group) == size:
                yield group
                group = []
    except Exception as error:
        failure = error
    if group:
        yield group
    if failure is not None:
        raise failure


def _size(image: Any) -> Size:
    return image.shape[0], image.shape[1]
