"""The iterator behind :meth:`dccnet.runtime.Matcher.stream`."""

from __future__ import annotations

import dataclasses
import itertools
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dccnet.runtime.batching import encode_all
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError, UsageError, VideoError
from dccnet.runtime.features import Features, check_image
from dccnet.runtime.geometry import resize_uint8
from dccnet.runtime.video import stages
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
from dccnet.runtime.video.stages import Shared, Work
from dccnet.runtime.video.timing import StageTimes, StreamStats

if TYPE_CHECKING:
    from dccnet.runtime.matcher import Matcher

AHEAD = 2
"""Frames, or batches, that wait between two threads."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """One frame and what was found in it. A is the reference, B the frame."""

    index: int
    """From 0, counting the frames that were dropped or could not be read."""
    time_s: float
    """Seconds from the first frame: of a file by its frame rate, of a live source by the clock."""
    image: Any
    """The frame as it came: ``(H, W, 3)`` uint8 BGR."""
    reference: Reference
    """What the frame was matched with: of several the one that fits best."""
    correspondences: Correspondences
    carried: Carried | None
    """The reference's points, mask and boxes in this frame; None where it has none."""
    timings: Mapping[str, float]
    """Seconds by stage: decode, resize, encode, match, carry."""
    latency_s: float
    """From the arrival of the frame to the moment at which this was handed out."""


class Stream(Iterator[FrameResult]):
    """Results for every frame, made in threads of its own. See :meth:`dccnet.runtime.Matcher.stream`.

    Ends its threads and closes its source when the frames end, on an error, on :meth:`close`, at the end
    of a ``with`` block, and when nobody holds it any more.
    """

    def __init__(
        self,
        matcher: Matcher,
        source: Source,
        reference: ReferenceLike | Sequence[ReferenceLike],
        *,
        carried: Mapping[str, Any],
        batch: int,
        live: bool | None,
        stall_s: float | None,
        propagation: Propagation,
        on_note: Callable[[str], None],
    ) -> None:
        if batch < 1:
            raise UsageError(f"a batch holds at least one frame, not {batch}")
        self.source: FrameSource = open_source(source, live=live)
        if self.source.live and batch > 1:
            raise UsageError("a live source is matched frame by frame: leave --batch away")
        self._stall_s = STALL_S if stall_s is None and self.source.live else stall_s
        self._shared = Shared(matcher, batch, on_note)
        self._frames = self.source.frames
        chained = isinstance(reference, str) and reference == PREVIOUS
        references = self._resolve(source, "frame:0" if chained else reference, carried)
        self._carrier = Carrier(propagation, references[0] if chained else None)
        if not chained:
            self._shared.references = self._encoded(references)
        self._threads: list[Background[Work]] = []
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
            work = next(self._threads[-1])
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
        assert work.correspondences is not None and work.reference is not None
        return FrameResult(
            work.index,
            work.time_s,
            work.image,
            work.reference,
            work.correspondences,
            work.carried,
            work.timings,
            time.monotonic() - work.arrived,
        )

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and wait for them; may be called twice."""
        self._closed = True
        if not self._threads:  # which close it otherwise
            close_iterator(self._frames)
        self._end()

    def replace_reference(self, reference: ReferenceLike | Sequence[ReferenceLike]) -> None:
        """Match with other pictures from now on; the frames under way may still meet the old ones.

        May be called from any thread. Raises :class:`UsageError` where frames are matched with the one
        before.
        """
        if not self._shared.references:
            raise UsageError("frames are matched with the one before: there is no reference to replace")
        self._shared.references = self._encoded(as_references(reference))

    @property
    def times(self) -> StageTimes:
        """Where what handles the results may add its own stages, ``draw`` and ``write``."""
        return self._shared.times

    @property
    def dropped(self) -> int:
        """Frames of a live source that were overtaken by newer ones, so far."""
        return self._threads[0].dropped if self._threads else 0

    @property
    def stats(self) -> StreamStats:
        """What has been done so far; may be asked at any time."""
        return StreamStats(
            self._count,
            self.dropped,
            self._shared.unreadable,
            max(self._last - self._started, 0.0),
            self._shared.times.summary(),
        )

    def _start(self) -> None:
        """Files: a thread for each stage. Live: one that always takes the newest frame, so that frames wait
        at one place only."""
        shared, batch, threads = self._shared, self._shared.batch, self._threads

        def thread(works: Iterator[Work], depth: int, **options: Any) -> Background[Work]:
            threads.append(Background(works, depth, **options))
            return threads[-1]

        works = stages.decode(shared, self._frames, self.source.rate, self.source.live)
        if self.source.live:
            newest = thread(works, 1, newest=True, timeout=self._stall_s)
            works = stages.match(shared, stages.encode(shared, newest))
        else:
            ahead = AHEAD * batch
            works = stages.encode(shared, thread(works, ahead, timeout=self._stall_s))
            works = thread(stages.match(shared, thread(works, ahead)), ahead)
        thread(stages.carry(shared, works, self._carrier), 1 if self.source.live else AHEAD)

    def _resolve(
        self, source: Source, reference: ReferenceLike | Sequence[ReferenceLike], carried: Mapping[str, Any]
    ) -> list[Reference]:
        """The pictures, with what is to be carried from them."""
        number = frame_number(reference)
        references = as_references(reference) if number is None else [self._take(source, number)]
        carried = {name: value for name, value in carried.items() if value is not None}
        if carried and len(references) > 1:
            raise UsageError("several references: give each its own points, mask or boxes")
        return [dataclasses.replace(one, **carried) if carried else one for one in references]

    def _take(self, source: Source, number: int) -> Reference:
        """A frame of the source itself; the first is put back."""
        name = f"frame:{number}"
        if number == 0:
            try:
                frame = next(self._frames)
            except StopIteration:
                raise VideoError(f"{self.source.name} has no frames") from None
            self._frames = _put_back(frame, self._frames)
        elif self.source.live or not self.source.count:
            raise UsageError(f"{name} needs a file: {self.source.name} has only frame:0 as a reference")
        else:
            frame = _frame(open_source(source).frames, number)
        if frame is None:
            raise UsageError(f"{self.source.name} has fewer than {number + 1} frames: there is no {name}")
        if isinstance(frame, DccError):
            raise frame
        return Reference(frame, name)

    def _encoded(self, references: Sequence[Reference]) -> tuple[tuple[Reference, Features], ...]:
        matcher = self._shared.matcher
        for reference in references:
            check_image(reference.image)
        frames = [resize_uint8(one.image, matcher.manifest.image_size) for one in references]
        encoded = encode_all(matcher.backend, frames, len(frames))
        return tuple(
            (one, Features(tensors, (one.image.shape[0], one.image.shape[1])))
            for one, tensors in zip(references, encoded, strict=True)
        )


def _put_back(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    try:
        yield first
        yield from rest
    finally:
        close_iterator(rest)


def _frame(frames: Iterator[Any], number: int) -> Any:
    """None where there are fewer."""
    try:
        return next(itertools.islice(frames, number, None), None)
    finally:
        close_iterator(frames)
