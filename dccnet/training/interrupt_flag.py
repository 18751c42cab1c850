"""Ctrl-C as a flag that is read between two training steps."""

from __future__ import annotations

import signal
import threading
from typing import Any


class InterruptFlag:
    """Sets :attr:`pressed` on Ctrl-C while the context lasts; a second Ctrl-C raises at once.

    Outside the main thread, where Python cannot replace signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._previous: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._press)

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _press(self, *_: object) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
