"""Stages that run in parallel: each consumes an iterable in a thread and fills a bounded queue.

A stage is a generator over the stage before it; :class:`Background` runs a stage in a thread of its own.
NumPy, OpenCV and the engines release the GIL, so Python threads do run in parallel here.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

JOIN_S = 12.0
"""Seconds that :meth:`Background.close` waits for its thread; only a caller's iterator blocks longer."""


class StalledError(Exception):
    """No item came within the timeout."""


class _CancelledError(Exception):
    """The consumer has stopped, so the thread must end."""


class Channel(Generic[T]):
    """A bounded queue between two threads that can end, pass on an error, and be cancelled."""

    def __init__(self, depth: int, newest: bool = False) -> None:
        """``newest``: a full channel drops its oldest item and counts it, instead of blocking."""
        self._items: deque[T] = deque()
        self._depth, self._newest = depth, newest
        self._changed = threading.Condition()
        self._ended = self._cancelled = False
        self._error: BaseException | None = None
        self.dropped = 0

    def wait_for_room(self) -> None:
        """Call this before producing an item, so that no item grows old in front of a full channel."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._cancelled or self._newest or len(self._items) < self._depth
            )
            if self._cancelled:
                raise _CancelledError

    def put(self, item: T) -> None:
        self.wait_for_room()
        with self._changed:
            if self._newest and len(self._items) == self._depth:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """No more items will come; :meth:`take` raises ``error`` after the items that are still queued."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def cancel(self) -> None:
        """Drop all items and stop the thread that puts them."""
        with self._changed:
            self._cancelled = self._ended = True
            self._items.clear()
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> T:
        """The next item. Raises ``StopIteration`` at the end, :class:`StalledError` after ``timeout``
        seconds without an item, and the error that was passed to :meth:`end`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._ended, timeout):
                raise StalledError
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
            if error is not None:
                raise error
            raise StopIteration


class Background(Iterator[T]):
    """The items of ``source``, in order, produced by a thread that is at most ``depth`` items ahead.

    An error of ``source`` is raised here, after the items before it. The thread ends, and closes
    ``source`` if it can be closed, at the end of the items, on an error, on :meth:`close`, and when this
    object is garbage-collected.
    """

    def __init__(
        self, source: Iterable[T], depth: int = 2, *, newest: bool = False, timeout: float | None = None
    ) -> None:
        """``newest`` keeps only the newest ``depth`` items and counts the others in :attr:`dropped`. After
        ``timeout`` seconds without an item, ``next`` raises :class:`StalledError`."""
        self._channel: Channel[T] = Channel(depth, newest)
        self._timeout = timeout
        thread = threading.Thread(  # refers to the channel, not to this object: it can be collected
            target=_produce, args=(iter(source), self._channel), name="dcc-stage", daemon=True
        )
        self._stop = weakref.finalize(self, _stop, self._channel, thread)
        thread.start()

    @property
    def dropped(self) -> int:
        """Items that were replaced by newer ones."""
        return self._channel.dropped

    def __next__(self) -> T:
        try:
            return self._channel.take(self._timeout)
        except Exception:
            self.close()
            raise

    def cancel(self) -> None:
        """Tell the thread to stop, without waiting for it."""
        self._channel.cancel()

    def close(self) -> None:
        """Stop the thread and wait for it. Calling it again has no effect."""
        self._stop()


def _stop(channel: Channel[T], thread: threading.Thread) -> None:
    channel.cancel()
    if thread is not threading.current_thread():
        thread.join(JOIN_S)


def close_all(stages: Iterable[Background[Any]]) -> None:
    """Stop threads that wait for each other: cancel all of them before waiting for one."""
    stages = list(stages)
    for stage in stages:
        stage.cancel()
    for stage in stages:
        stage.close()


@contextlib.contextmanager
def closing_all(stages: Iterable[Background[Any]]) -> Iterator[None]:
    """:func:`close_all` of the stages at the end of the block."""
    try:
        yield
    finally:
        close_all(stages)


def close_iterator(iterator: object) -> None:
    """Close a generator, so that its ``finally`` blocks run now instead of at garbage collection."""
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


def _produce(source: Iterator[T], channel: Channel[T]) -> None:
    """What the thread runs: put every item of ``source`` into ``channel``."""
    error: BaseException | None = None
    try:
        while True:
            channel.wait_for_room()
            try:
                item = next(source)
            except StopIteration:
                break
            channel.put(item)
            del item  # not kept alive while the next one is produced
    except _CancelledError:
        pass
    except BaseException as caught:  # raised again by Channel.take
        error = caught
    finally:
        close_iterator(source)
        channel.end(error)
