"""Match the pairs of windows, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dccnet.runtime.batching import encode_seen, match_each
from dccnet.runtime.bulk.ahead import PicturesAhead
from dccnet.runtime.bulk.kept import KeptFeatures
from dccnet.runtime.bulk.listed import points_of
from dccnet.runtime.bulk.order import Ints, order_pairs
from dccnet.runtime.bulk.results import Failure, Matched
from dccnet.runtime.bulk.window import Window
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError
from dccnet.runtime.features import Features
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.point_matches import PointMatches
from dccnet.runtime.views.ways import AskedPair, SeenPicture

Ready = tuple[int, tuple[str, str], Features, Features]
"""A pair's number in its window, the names of its pictures, and their features."""
AHEAD = 8
"""Pairs, at least, for which pictures are read before they are needed."""


@dataclass(slots=True, eq=False)
class Part:
    """Pairs of a window whose results are one file."""

    number: int
    """In its window, from 0."""
    rows: list[Matched] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    encoded: int = 0
    """Pictures that were encoded for it."""
    seconds: float = 0.0


class Group(NamedTuple):
    """Pairs that were matched together."""

    found: list[tuple[int, tuple[str, str], Correspondences]]
    """Numbers in the window, and names of the pictures."""
    failures: list[Failure]
    seconds: float
    """For each pair."""


Finished = Future[tuple[list[Matched], list[Failure]]]


class PairMatcher:
    """A matcher with the features that are kept from window to window. A context manager."""

    def __init__(
        self,
        matcher: Matcher,
        root: Path,
        room: int,
        batch: int = 1,
        least: float | None = None,
        on_pairs: Callable[[int], None] = lambda count: None,
    ) -> None:
        """``root`` is the pictures' folder, ``room`` how many pictures' features are kept, ``least`` the
        lowest confidence of a mutual match. ``on_pairs`` is called with numbers of pairs that are done."""
        self._matcher, self._batch, self._least, self._on_pairs = matcher, batch, least, on_pairs
        self._kept = KeptFeatures(room)
        self._ahead = PicturesAhead(root, matcher.manifest.frames)
        self._unreadable: dict[str, DccError] = {}
        self._finishing = ThreadPoolExecutor(1, thread_name_prefix="dcc-finish")

    def __enter__(self) -> PairMatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.close()
        self._finishing.shutdown(cancel_futures=True)

    def parts(self, window: Window, size: int, todo: Collection[int]) -> Iterator[Part]:
        """The parts of ``size`` pairs with the numbers ``todo``, in their order.

        What is in a part depends on the window, the size and the room alone: a run that continues makes the
        parts that are missing. A pair that fails is among its part's failures. Raises :class:`EngineError`
        where the backend fails.
        """
        order = order_pairs(window.a, window.b, self._kept.room)
        chunks = [(number, order[number * size : (number + 1) * size]) for number in sorted(todo)]
        pairs = np.concatenate([chunk for _, chunk in chunks]) if chunks else order[:0]
        self._kept.follow(window.names, window.a[pairs], window.b[pairs])
        self._unreadable = {}
        ways = self._matcher.ways
        targets = {window.names[target]: ways.target for target in np.unique(window.b[pairs])}
        sources = {window.names[source]: ways.source for source in np.unique(window.a[pairs])}
        self._ahead.views = targets | sources  # a source needs what a target does, and more
        done = 0
        for number, chunk in chunks:
            part, behind = Part(number), None
            started = time.perf_counter()
            for first in range(0, len(chunk), self._batch):
                group = chunk[first : first + self._batch]
                matched = self._group(window, group, range(done, done + len(group)), len(pairs), part)
                finished = self._finishing.submit(self._finish, window, matched)
                if behind is not None:
                    _collect(behind, part)
                behind = finished
                done += len(group)
                self._on_pairs(len(group))
            if behind is not None:
                _collect(behind, part)
            part.seconds = time.perf_counter() - started
            yield part

    def _group(self, window: Window, group: Ints, places: range, total: int, part: Part) -> Group:
        """Match the pairs ``group`` of the window, which are at ``places`` of those that are matched."""
        started = time.perf_counter()
        good = [(int(pair), place) for pair, place in zip(group, places, strict=True)]
        good = [(pair, place) for pair, place in good if pair not in window.problems]
        needed = dict.fromkeys(name for _, place in good for name in self._kept.pair(place))
        features = self._features(list(needed), part)
        self._kept.used(places)
        self._kept.shrink()
        self._read_ahead(range(places.stop, min(places.stop + max(AHEAD, 4 * self._batch), total)))
        ready: list[Ready] = []
        failures: list[Failure] = []
        for pair, place in good:
            names = self._kept.pair(place)
            error = next((self._unreadable[name] for name in names if name in self._unreadable), None)
            if error is None:
                ready.append((pair, names, features[names[0]], features[names[1]]))
            else:
                failures.append(Failure(window.start + pair, *names, str(error)))
        failures += [
            Failure(window.start + int(pair), "", "", window.problems[int(pair)])
            for pair in group
            if int(pair) in window.problems
        ]
        found = []
        for (pair, names, _, _), result in zip(ready, self._results(ready), strict=True):
            try:
                found.append((pair, names, result()))
            except DccError as error:
                failures.append(Failure(window.start + pair, *names, str(error)))
        return Group(found, failures, (time.perf_counter() - started) / len(group))

    def _finish(self, window: Window, group: Group) -> tuple[list[Matched], list[Failure]]:
        """What is written of a group's pairs, and the failures; while the next group is matched."""
        rows, failures = [], list(group.failures)
        for pair, names, result in group.found:
            started = time.perf_counter()
            try:
                matches, mirrored = self._matches(result, window, pair)
            except DccError as error:  # such as a point outside its picture
                failures.append(Failure(window.start + pair, *names, str(error)))
                continue
            seconds = group.seconds + time.perf_counter() - started
            sizes = result.size_a, result.size_b
            rows.append(Matched(window.start + pair, *names, *sizes, matches, mirrored, seconds))
        return rows, failures

    def _features(self, names: Sequence[str], part: Part) -> dict[str, Features]:
        """Features of those pictures that can be read, encoded where they are not kept."""
        there = {name: self._kept[name] for name in names if self._is_kept(name)}
        new: dict[str, SeenPicture] = {}
        for name in names:
            if name not in there and name not in self._unreadable:
                read = self._ahead.take(name)
                if isinstance(read, SeenPicture):
                    new[name] = read
                else:
                    self._unreadable[name] = read
        encoded = encode_seen(self._matcher.backend, list(new.values()), self._batch)
        for name, features in zip(new, encoded, strict=True):
            there[name] = features
            self._kept.put(name, features)
        part.encoded += len(new)
        return there

    def _is_kept(self, name: str) -> bool:
        """Whether the features of all views that are needed are there."""
        return name in self._kept and self._kept[name].has(self._ahead.needed(name))

    def _read_ahead(self, places: range) -> None:
        for name in self._kept.coming(places):
            if name and name not in self._unreadable:
                self._ahead.want(name)

    def _results(self, ready: Sequence[Ready]) -> list[Callable[..., Correspondences]]:
        """The result of each pair, which raises :class:`DccError` when it is asked for."""
        pairs = [AskedPair(a, b, self._matcher.ways) for _, _, a, b in ready]
        return match_each(self._matcher, pairs, self._batch)

    def _matches(self, result: Correspondences, window: Window, pair: int) -> tuple[PointMatches, bool]:
        """What is written of a pair, and whether its source was mirrored."""
        if window.points is not None:
            return result.carry(points_of(window.points[pair]), from_="a"), result.mirrored
        shown = result if self._least is None else result.at_least(self._least)
        return shown.mutual(), result.mirrored


def _collect(finished: Finished, part: Part) -> None:
    """Wait for a group, and add it to its part."""
    rows, failures = finished.result()
    part.rows += rows
    part.failures += failures
