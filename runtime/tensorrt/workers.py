"""Workers: what each call that runs on a GPU needs for itself, and how many calls run at once."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import EngineError
from dccnet.runtime.tensorrt.runner import BoundEngine, Engine

WORKERS = 4
"""Calls that can run on a GPU at once; each of them needs the working memory of both engines."""


class Worker:
    """What one call needs for itself: a stream, and both engines with memory on the GPU and the host."""

    def __init__(self, encoder: Engine, matcher: Engine, device: Device) -> None:
        with contextlib.ExitStack() as undo:
            self.stream = device.create_stream()
            undo.callback(device.destroy_stream, self.stream)
            self.encoder = BoundEngine(encoder, device, self.stream, on_host=encoder.inputs)
            undo.callback(self.encoder.close)
            self.matcher = BoundEngine(matcher, device, self.stream, on_host=matcher.outputs)
            undo.callback(self.matcher.close)
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()


class WorkerPool:
    """At most :data:`WORKERS` workers, created when they are needed; each serves one call at a time."""

    def __init__(self, encoder: Engine, matcher: Engine, device: Device) -> None:
        self._engines, self._device = (encoder, matcher), device
        self._idle: deque[Worker] = deque()
        self._closed = False
        self._free_places = threading.BoundedSemaphore(WORKERS)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Worker]:
        """A worker for the block; waits while all are in use. The device must be active on this thread.

        The block waits for its own work. Where an exception ends it earlier, that work is waited for here:
        it reads and writes memory that others use afterwards.
        """
        with self._free_places:
            if self._closed:
                raise EngineError("the matcher is closed: open the bundle again")
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = Worker(*self._engines, self._device)
            is_idle = False
            try:
                yield worker
                is_idle = True
            finally:
                if is_idle or self._wait_for(worker):
                    self._idle.append(worker)
                else:
                    # Freeing memory waits for work that uses it. The exception of the block is the cause.
                    with contextlib.suppress(EngineError):
                        worker.close()

    def _wait_for(self, worker: Worker) -> bool:
        """Whether the work on the worker's stream is over and had no errors."""
        try:
            self._device.synchronize(worker.stream)
        except (EngineError, KeyboardInterrupt):  # a second Ctrl-C adds nothing to the first
            return False
        return True

    def close(self) -> None:
        self._closed = True
        with contextlib.ExitStack() as each:  # where one fails, the others are closed all the same
            while self._idle:
                each.callback(self._idle.pop().close)
