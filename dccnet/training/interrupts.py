"""Ctrl-C as a question: noted when it comes, answered between two steps."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupts:
    """Notes Ctrl-C while the context lasts, in ``noted``. A second one takes effect at once.

    Outside the main thread signals stay as they are.
    """

    def __init__(self) -> None:
        self.noted = False
        self._previous: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _note(self, *_: object) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True
