"""How many requests are inside at a time: a further one is refused at once, before its body is read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from fastapi import HTTPException

from dccnet.service.problems import busy


class Gate:
    """Lets ``limit`` requests in; ``seconds_per_job`` returns how long one takes at present.

    A request that would wait for more than ``timeout_s`` is refused, too: it could not be answered in
    time. ``on_refusal`` is called with ``queue``, ``wait`` or ``stopping``. Used from the event loop.
    """

    def __init__(
        self,
        limit: int,
        timeout_s: float,
        seconds_per_job: Callable[[], float],
        on_refusal: Callable[[str], None],
    ) -> None:
        self._limit, self._timeout_s = limit, timeout_s
        self._seconds_per_job, self._on_refusal = seconds_per_job, on_refusal
        self.inside = 0
        """Requests that are received, wait or are computed."""
        self.stopping = False

    @property
    def wait_s(self) -> float:
        """How long a new request would probably wait."""
        return self.inside * self._seconds_per_job()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """A request is inside during this block. Raises 503 where it may not come in."""
        reason = self._reason()
        if reason is not None:
            self._on_refusal(reason)
            raise (
                self.stopped()
                if reason == "stopping"
                else busy("this server has as many requests as it can answer: try again later", self.wait_s)
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def stopped(self) -> HTTPException:
        """503 of a server that takes no more requests."""
        return busy("this server is being stopped: try again later", self.wait_s)

    def _reason(self) -> str | None:
        if self.stopping:
            return "stopping"
        if self.inside >= self._limit:
            return "queue"
        return "wait" if self.wait_s > self._timeout_s else None
