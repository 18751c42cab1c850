"""A log that is written on a thread of its own, so that a slow server does not hold up the training."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dccnet.training.experiments.experiment_log import ExperimentLog, Status

WAIT_S = 60.0
"""Longest wait at the end of a run for what has not been written yet."""


class BackgroundLog:
    """Calls the methods of ``log`` in order, each soon after it was called here.

    What one of them raises is raised by the next call; the others are then left out.
    """

    def __init__(self, log: ExperimentLog) -> None:
        self._log = log
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        # A daemon, because a request that gets no answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="dcc-experiment-log", daemon=True)
        self._thread.start()

    @property
    def identity(self) -> dict[str, str]:
        return self._log.identity

    def begin(self, parameters: Mapping[str, Any], step: int) -> None:
        self._later(partial(self._log.begin, parameters, step))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._later(partial(self._log.scalars, dict(values), step))

    def best(self, checkpoint: Path, epoch: int, pck: float) -> None:
        self._later(partial(self._log.best, checkpoint, epoch, pck))

    def close(self, status: Status) -> None:
        self._later(partial(self._log.close, status))
        self._calls.put(None)
        self._thread.join(WAIT_S)
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            raise TimeoutError(f"no answer for {WAIT_S:.0f} seconds")

    def _later(self, call: Callable[[], None]) -> None:
        if self._error is not None:
            raise self._error
        self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:
                self._error = error
                return
