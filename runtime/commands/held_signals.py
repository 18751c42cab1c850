"""Ctrl-C and SIGTERM take effect between two frames only, so that files are not left half written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class HeldSignals:
    """Delays SIGINT and SIGTERM while a file is written.

    Within :meth:`held` a signal waits; within :meth:`allowed`, where nothing is written, it is raised at
    once: ``KeyboardInterrupt`` for SIGINT, ``SystemExit(143)`` for SIGTERM.
    """

    def __init__(self) -> None:
        self._pending: int | None = None
        self._allowed = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back in this block. Outside the main thread, which gets all signals, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Raise signals in this block, first of all one that was held back."""
        self._allowed = True
        try:
            if self._pending is not None:
                self._raise(self._pending)
            yield
        finally:
            self._allowed = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._pending = number
        if self._allowed:
            self._allowed = False  # a second signal must not disturb the closing of files
            self._raise(number)

    @staticmethod
    def _raise(number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
