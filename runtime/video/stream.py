"""The iterator behind :meth:`dccnet.runtime.Matcher.stream`."""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dccnet.runtime.batching import encode_seen
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError, UsageError, VideoError
from dccnet.runtime.one_line import OneLine
from dccnet.runtime.video import stages
from dccnet.runtime.video.annotations import Annotations
from dccnet.runtime.video.captures import BetweenFramesError
from dccnet.runtime.video.pipeline import Background, StalledError, close_all, close_iterator
from dccnet.runtime.video.propagation.carrier import Carried, Carrier
from dccnet.runtime.video.propagation.settings import Propagation
from dccnet.runtime.video.references import (
    PREVIOUS,
    Reference,
    ReferenceLike,
    as_references,
    frame_number,
)
from dccnet.runtime.video.sources import STALL_S, FrameSource, Source, open_source
from dccnet.runtime.video.stages import Candidates, FrameTask, StreamState
from dccnet.runtime.video.timing import StageTimes, StreamStats
from dccnet.runtime.views.ways import see

if TYPE_CHECKING:
    from dccnet.runtime.matcher import Matcher

AHEAD = 2
"""Frames, or batches, that may wait between two threads."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FrameResult(OneLine):
    """One frame, B, and its match with the reference, A."""

    index: int
    """0-based; frames that were dropped or could not be read are counted, too."""
    time_s: float
    """Seconds from the first frame: by the time stamps of a video file, by the rate of pictures, by the
    clock for a live source."""
    image: Any
    """The frame as the source yielded it: ``(H, W, 3)`` uint8 BGR."""
    reference: Reference
    """The reference that the frame was matched with; the best one of several."""
    correspondences: Correspondences
    carried: Carried | None
    """The reference's points, mask and boxes in this frame; None where the reference has none."""
    timings: Mapping[str, float]
    """Seconds by stage: decode, resize, encode, match, carry."""
    latency_s: float
    """Seconds from the arrival of the frame until this result was returned."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamRequest:
    """The arguments of :meth:`dccnet.runtime.Matcher.stream`, which describes them."""

    source: Source
    reference: ReferenceLike | Sequence[ReferenceLike]
    annotations: Annotations
    batch: int
    live: bool | None
    stall_s: float | None
    reconnect: int
    propagation: Propagation
    min_confidence: float | None
    on_note: Callable[[str], None]


class Stream(Iterator[FrameResult]):
    """Results for every frame, computed in several threads. See :meth:`dccnet.runtime.Matcher.stream`.

    The threads end and the source is closed when the frames end, on an error, on :meth:`close`, at the end
    of a ``with`` block, and when the stream is garbage-collected.
    """

    def __init__(self, matcher: Matcher, request: StreamRequest) -> None:
        """Open the source and encode the references. Raises :class:`DccError`."""
        if request.batch < 1:
            raise UsageError(f"a batch contains at least one frame, not {request.batch}")
        if request.stall_s is not None and not request.stall_s > 0:
            raise UsageError(f"stall_s must be more than 0 seconds, not {request.stall_s}")
        if request.reconnect < 0:
            raise UsageError(f"reconnect must be 0 or more, not {request.reconnect}")
        if request.min_confidence is not None:
            matcher.require_confidence()
        self.source: FrameSource = open_source(
            request.source, live=request.live, reconnect=request.reconnect
        )
        if self.source.live and request.batch > 1:
            raise UsageError("a live source is matched frame by frame: remove --batch")
        self._stall_s = STALL_S if request.stall_s is None and self.source.live else request.stall_s
        self._state = StreamState(matcher, request.batch, request.on_note)
        self._frames = self.source.frames
        chained = isinstance(request.reference, str) and request.reference == PREVIOUS
        if chained and request.propagation.follow:
            raise UsageError("points that follow the picture need a kept reference, not 'previous'")
        references = self._resolve(request, "frame:0" if chained else request.reference)
        self._least_confidence = request.min_confidence
        propagation = request.propagation
        if request.min_confidence is not None:
            propagation = dataclasses.replace(propagation, min_confidence=request.min_confidence)
        self._carrier = Carrier(propagation, references[0] if chained else None)
        if not chained:
            self._state.references = self._encode(references)
        self._threads: list[Background[FrameTask]] = []
        self._end = weakref.finalize(self, close_all, self._threads)
        self._closed = False
        self._count = 0
        self._started = self._last = 0.0

    def __next__(self) -> FrameResult:
        if self._closed:
            raise StopIteration
        if not self._threads:
            self._started = time.perf_counter()
            self._start()
        try:
            task = next(self._threads[-1])
        except StalledError:
            self.close()
            raise VideoError(
                f"{self.source.name} gave no frame for {self._stall_s:g} s: is it still there?"
            ) from None
        except Exception:
            self.close()
            raise
        self._count += 1
        self._last = time.perf_counter()
        assert task.correspondences is not None and task.reference is not None
        correspondences = task.correspondences
        if self._least_confidence is not None:
            correspondences = correspondences.at_least(self._least_confidence)
        return FrameResult(
            task.index,
            task.time_s,
            task.image,
            task.reference,
            correspondences,
            task.carried,
            task.timings,
            time.monotonic() - task.arrived_s,
        )

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and wait for them. Calling it again has no effect."""
        self._closed = True
        if not self._threads:  # threads close it when they end
            close_iterator(self._frames)
        self._end()

    def replace_reference(self, reference: ReferenceLike | Sequence[ReferenceLike]) -> None:
        """Match with other pictures from now on; frames in progress may still use the old ones.

        Any thread may call this. Raises :class:`UsageError` where frames are matched with the frame before.
        """
        if not self._state.references:
            raise UsageError("frames are matched with the frame before: there is no reference to replace")
        self._state.references = self._encode(as_references(reference))

    @property
    def times(self) -> StageTimes:
        """Durations by stage; callers add their own stages ``draw`` and ``write``."""
        return self._state.times

    @property
    def dropped(self) -> int:
        """Frames of a live source that were dropped for newer ones, so far."""
        return self._threads[0].dropped if self._threads else 0

    @property
    def stats(self) -> StreamStats:
        """Statistics up to now; can be read at any time."""
        return StreamStats(
            self._count,
            self.dropped,
            self._state.unreadable,
            self._state.damaged,
            self._state.reconnected,
            max(self._last - self._started, 0.0),
            self._state.times.summary(),
        )

    def _start(self) -> None:
        """Start a thread for each stage of a file. A live source gets one thread that always keeps the
        newest frame and one for the other stages, so that frames wait in one place only."""
        state, batch, threads = self._state, self._state.batch, self._threads

        def thread(tasks: Iterator[FrameTask], depth: int, **options: Any) -> Background[FrameTask]:
            threads.append(Background(tasks, depth, **options))
            return threads[-1]

        tasks = stages.decode(state, self._frames, self.source)
        if self.source.live:
            newest = thread(tasks, 1, newest=True, timeout=self._stall_s)
            tasks = stages.match(state, stages.encode(state, newest))
        else:
            ahead = AHEAD * batch
            tasks = stages.encode(state, thread(tasks, ahead, timeout=self._stall_s))
            tasks = thread(stages.match(state, thread(tasks, ahead)), ahead)
        thread(stages.carry(state, tasks, self._carrier), 1 if self.source.live else AHEAD)

    def _resolve(
        self, request: StreamRequest, reference: ReferenceLike | Sequence[ReferenceLike]
    ) -> list[Reference]:
        """The reference pictures with the request's annotations."""
        number = frame_number(reference)
        references = (
            as_references(reference) if number is None else [self._take_frame(request.source, number)]
        )
        if request.annotations.given() and len(references) > 1:
            raise UsageError("several references: give each its own points, mask or boxes")
        return [one.annotated(request.annotations) for one in references]

    def _take_frame(self, source: Source, number: int) -> Reference:
        """A frame of the source as a reference; the first frame is put back, with the notes before it."""
        name = f"frame:{number}"
        if number == 0:
            taken = []
            for frame in self._frames:
                taken.append(frame)
                if not isinstance(frame, BetweenFramesError):
                    break
            else:
                raise VideoError(f"{self.source.name} has no frames")
            self._frames = _put_back(taken, self._frames)
        elif self.source.live or not self.source.count:
            raise UsageError(f"{name} needs a file: {self.source.name} has only frame:0 as a reference")
        else:
            frame = nth_frame(open_source(source).frames, number)
        if frame is None:
            raise UsageError(f"{self.source.name} has fewer than {number + 1} frames: there is no {name}")
        if isinstance(frame, DccError):
            raise frame
        return Reference(frame, name)

    def _encode(self, references: Sequence[Reference]) -> Candidates:
        matcher = self._state.matcher
        seen = [see(one.image, matcher.ways.source, matcher.manifest.frames) for one in references]
        encoded = encode_seen(matcher.backend, seen, len(seen))
        return tuple(zip(references, encoded, strict=True))


def _put_back(taken: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    try:
        while taken:  # none is kept alive here
            yield taken.pop(0)
        yield from rest
    finally:
        close_iterator(rest)


def nth_frame(frames: Iterator[Any], number: int) -> Any:
    """The frame ``number``, 0-based; None where there are fewer frames."""
    try:
        real = (frame for frame in frames if not isinstance(frame, BetweenFramesError))
        return next((frame for index, frame in enumerate(real) if index == number), None)
    finally:
        close_iterator(frames)
