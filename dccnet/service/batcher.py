"""One thread that runs the network: it takes what has arrived together, in small batches."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from dccnet.runtime.batching import encode_seen, match_each
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.features import Features
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.views.ways import AS_THEY_ARE, AskedPair, SeenPicture, Ways

Observe = Callable[[str, float], None]
"""Is called with the name of a stage (``queue``, ``encode``, ``match``) and its seconds."""


Picture = Union[SeenPicture, Features]  # noqa: UP007 (Python 3.10 evaluates it)


@dataclass(slots=True, eq=False)
class _Job:
    pictures: tuple[Picture, ...]
    """One, to be encoded; or two, to be matched."""
    refine: bool | None
    ways: Ways
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Encodes and matches for many requests at once, in a thread of its own, in the order of arrival.

    A batch starts when ``batch`` jobs are there, or ``wait_s`` after the first of them has arrived. Jobs
    whose future was cancelled meanwhile are left out. ``observe`` is called from the thread, as is
    ``observe_batch``, with the number of jobs of each batch.
    """

    def __init__(
        self,
        matcher: Matcher,
        batch: int,
        wait_s: float,
        observe: Observe = lambda stage, seconds: None,
        observe_batch: Callable[[int], None] = lambda jobs: None,
    ) -> None:
        self._matcher, self._batch, self._wait_s = matcher, batch, wait_s
        self._observe, self._observe_batch = observe, observe_batch
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.seconds_per_job = 0.0
        """Mean over the last jobs, the newest counting most; 0 before the first."""
        self._thread = threading.Thread(target=self._run, name="dcc-batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that have not started."""
        return len(self._jobs)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    async def match(
        self, a: Picture, b: Picture, refine: bool | None = None, ways: Ways = AS_THEY_ARE
    ) -> Correspondences:
        """Correspondences of two pictures, as of ``Matcher.match``, whose errors it raises."""
        found: Correspondences = await self._submit((a, b), refine, ways)
        return found

    async def encode(self, picture: SeenPicture) -> Features:
        """Features of a picture. Raises the errors of ``Matcher.encode``."""
        features: Features = await self._submit((picture,), None, AS_THEY_ARE)
        return features

    def close(self) -> None:
        """End the thread after the jobs that are there."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    async def _submit(self, pictures: tuple[Picture, ...], refine: bool | None, ways: Ways) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(pictures, refine, ways, loop, loop.create_future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._jobs.append(job)
            self._changed.notify()
        return await job.future

    def _run(self) -> None:
        while jobs := self._take():
            started = time.monotonic()
            for job in jobs:
                self._observe("queue", started - job.arrived)
            self._observe_batch(len(jobs))
            self._answer(jobs)
            seconds = (time.monotonic() - started) / len(jobs)
            known = self.seconds_per_job
            self.seconds_per_job = 0.8 * known + 0.2 * seconds if known else seconds

    def _take(self) -> list[_Job]:
        """The jobs of the next batch; none when the batcher is closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    return []
                until = self._jobs[0].arrived + self._wait_s
                self._changed.wait_for(
                    lambda: len(self._jobs) >= self._batch or self._closed,
                    max(until - time.monotonic(), 0),
                )
                taken = [self._jobs.popleft() for _ in range(min(self._batch, len(self._jobs)))]
                if alive := [job for job in taken if not job.future.cancelled()]:
                    return alive

    def _answer(self, jobs: Sequence[_Job]) -> None:
        try:
            results = self._compute(jobs)
        except Exception as error:
            if len(jobs) == 1:
                _finish(jobs[0], error)
                return
            for job in jobs:  # one of them must not fail the others
                self._answer([job])
            return
        for job, result in zip(jobs, results, strict=True):
            _finish(job, result)

    def _compute(self, jobs: Sequence[_Job]) -> list[Any]:
        """Features or correspondences of each job, or its error."""
        matcher, started = self._matcher, time.monotonic()
        seen = {id(p): p for job in jobs for p in job.pictures if isinstance(p, SeenPicture)}
        features_of = encode_seen(matcher.backend, list(seen.values()), self._batch)
        encoded = dict(zip(seen, features_of, strict=True))
        if seen:
            self._observe("encode", (now := time.monotonic()) - started)
            started = now
        features = [
            [p if isinstance(p, Features) else encoded[id(p)] for p in job.pictures] for job in jobs
        ]
        pairs = [
            AskedPair(of_job[0], of_job[1], job.ways)
            for job, of_job in zip(jobs, features, strict=True)
            if len(of_job) == 2
        ]
        matches = iter(match_each(matcher, pairs, self._batch))
        results: list[Any] = []
        for job, of_job in zip(jobs, features, strict=True):
            if len(of_job) == 1:
                results.append(of_job[0])
                continue
            try:
                results.append(next(matches)(job.refine))
            except Exception as error:
                results.append(error)
        if pairs:
            self._observe("match", time.monotonic() - started)
        return results


def _finish(job: _Job, result: Any) -> None:
    """Hand the result, or the error, to the event loop that waits for it."""

    def set_result() -> None:
        if job.future.done():  # cancelled: its deadline has passed
            return
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        job.loop.call_soon_threadsafe(set_result)
