"""Ctrl-C and SIGTERM between two frames instead of anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Holds a signal back until it does no harm.

    While a file is written the signal waits; within :meth:`allowed`, where nothing is written, it is
    raised at once: ``KeyboardInterrupt`` for SIGINT, ``SystemExit(143)`` for SIGTERM.
    """

    def __init__(self) -> None:
        self._pending: int | None = None
        self._allowed = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back in this block; they can only be caught in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        self._allowed = True
        try:
            if self._pending is not None:
                self._raise(self._pending)
            yield
        finally:
            self._allowed = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._pending = number
        if self._allowed:
            self._allowed = False  # a second one must not disturb the closing of files
            self._raise(number)

    @staticmethod
    def _raise(number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
