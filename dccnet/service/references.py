"""Pictures that were encoded once, to be matched with many: kept by size and by time."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from dccnet.runtime.features import Features


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """An encoded picture."""

    features: Features
    picture: bytes
    """A small JPEG of it, for drawings."""

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + len(self.picture)


class References:
    """References by id: at most ``limit`` bytes of those used last, each for ``lifetime_s`` after its use.

    Used from one thread, that of the event loop. ``on_removal`` is called with ``size``, ``expired`` or
    ``deleted``.
    """

    def __init__(
        self,
        limit: int,
        lifetime_s: float,
        on_removal: Callable[[str], None] = lambda reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._lifetime_s = limit, lifetime_s
        self._on_removal, self._clock = on_removal, clock
        self._entries: OrderedDict[str, tuple[Reference, float]] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, reference: Reference) -> str | None:
        """Keep a reference and return its id, which cannot be guessed; None if it is larger than all that
        may be kept."""
        if reference.nbytes > self._limit:
            return None
        self.expire()
        name = secrets.token_urlsafe(16)
        self._entries[name] = reference, self._clock()
        self.nbytes += reference.nbytes
        while self.nbytes > self._limit:
            self._remove(next(iter(self._entries)), "size")
        return name

    def get(self, name: str) -> Reference | None:
        """The reference, whose time starts again; None where there is none of this id."""
        self.expire()
        entry = self._entries.pop(name, None)
        if entry is None:
            return None
        self._entries[name] = entry[0], self._clock()
        return entry[0]

    def delete(self, name: str) -> bool:
        """Whether there was one."""
        self.expire()
        if name not in self._entries:
            return False
        self._remove(name, "deleted")
        return True

    def expire(self) -> None:
        """Remove those whose time is over."""
        oldest = self._clock() - self._lifetime_s
        while self._entries:
            name, (_, used) = next(iter(self._entries.items()))
            if used > oldest:
                return
            self._remove(name, "expired")

    def _remove(self, name: str, reason: str) -> None:
        self.nbytes -= self._entries.pop(name)[0].nbytes
        self._on_removal(reason)
