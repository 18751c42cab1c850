"""Stages that run side by side: an iterable is worked through in a thread, a bounded queue ahead.

A stage is a generator over the one before it; :class:`Background` puts a thread between the two. NumPy,
OpenCV and the engines release the GIL, so the threads overlap although they are Python's.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

JOIN_S = 12.0
"""How long :meth:`Background.close` waits for its thread; what blocks longer is a foreign iterator."""


class StalledError(Exception):
    """Nothing came for as long as somebody was ready to wait."""


class _CancelledError(Exception):
    """Nobody wants what this thread makes any more."""


class Channel(Generic[T]):
    """A bounded queue between two threads that ends, fails and can be cancelled."""

    def __init__(self, depth: int, newest: bool = False) -> None:
        """``newest``: a full channel drops its oldest item and counts it, instead of blocking."""
        self._items: deque[T] = deque()
        self._depth, self._newest = depth, newest
        self._changed = threading.Condition()
        self._ended = self._cancelled = False
        self._error: BaseException | None = None
        self.dropped = 0

    def wait_for_room(self) -> None:
        """Before the work on an item begins, so that none grows old in front of a full channel."""
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
        """No more items; ``error`` is raised where they are taken, after those that are still here."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def cancel(self) -> None:
        """Items are thrown away, and whoever waits to put one is sent home."""
        with self._changed:
            self._cancelled = self._ended = True
            self._items.clear()
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> T:
        """Raises ``StopIteration`` at the end, :class:`StalledError` after ``timeout`` seconds, and what
        the other side failed with."""
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
    """``source`` worked through in a thread of its own, at most ``depth`` items ahead, in order.

    An error of ``source`` is raised here, after the items before it. The thread ends, and closes
    ``source`` if that can be closed, when the items do, when one of them fails, and on :meth:`close`, which
    is also what an abandoned one does to itself.
    """

    def __init__(
        self, source: Iterable[T], depth: int = 2, *, newest: bool = False, timeout: float | None = None
    ) -> None:
        """``newest`` keeps the newest ``depth`` items and counts the others in :attr:`dropped`; with
        ``timeout`` seconds without an item, ``next`` raises :class:`StalledError`."""
        self._channel: Channel[T] = Channel(depth, newest)
        self._timeout = timeout
        thread = threading.Thread(  # knows the channel and not this object, which may be abandoned
            target=_work, args=(iter(source), self._channel), name="dcc-stage", daemon=True
        )
        self._stop = weakref.finalize(self, _stop, self._channel, thread)
        thread.start()

    @property
    def dropped(self) -> int:
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
        """Stop the thread and wait for it; may be called twice."""
        self._stop()


def _stop(channel: Channel[T], thread: threading.Thread) -> None:
    channel.cancel()
    if thread is not threading.current_thread():
        thread.join(JOIN_S)


def close_all(stages: Iterable[Background[T]]) -> None:
    """Stop threads that wait for each other: all are told before one is waited for."""
    stages = list(stages)
    for stage in stages:
        stage.cancel()
    for stage in stages:
        stage.close()


def close_iterator(iterator: object) -> None:
    """A generator's ``finally`` blocks run now, not when nobody holds it any more."""
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


def _work(source: Iterator[T], channel: Channel[T]) -> None:
    error: BaseException | None = None
    try:
        while True:
            channel.wait_for_room()
            try:
                item = next(source)
            except StopIteration:
                break
            channel.put(item)
            del item  # not kept alive while the next one is made
    except _CancelledError:
        pass
    except BaseException as caught:  # raised again where the items are taken
        error = caught
    finally:
        close_iterator(source)
        channel.end(error)
