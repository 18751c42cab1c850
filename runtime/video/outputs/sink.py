"""What takes results one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dccnet.runtime.arrays import Image
from dccnet.runtime.video.stream import FrameResult


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A result and its picture; None where no output needs one."""

    result: FrameResult
    drawing: Image | None


class Sink(Protocol):
    """A file, or several, that grows with every frame."""

    def write(self, shown: Shown) -> None:
        """Raises ``OSError`` or :class:`DccError`; what was written before stays whole."""

    def close(self) -> None:
        """Finish the file, also after a failed :meth:`write`; may raise the same."""

    @property
    def reserve(self) -> int:
        """Bytes that :meth:`close` has still to write, at most."""
