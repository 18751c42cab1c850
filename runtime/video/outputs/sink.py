"""The protocol of an output, which writes results one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dccnet.runtime.arrays import Image
from dccnet.runtime.video.stream import FrameResult


@dataclass(frozen=True, slots=True, eq=False)
class OutputFrame:
    """A frame's result and its drawing, which is None where no output needs it."""

    result: FrameResult
    drawing: Image | None


class Sink(Protocol):
    """A file, or several files, that grow with every frame."""

    def write(self, frame: OutputFrame) -> None:
        """Write one frame. On ``OSError`` or :class:`DccError`, the frames before it stay complete."""

    def close(self) -> None:
        """Finish the file, also after a failed :meth:`write`. Raises the same errors."""

    @property
    def reserve(self) -> int:
        """The most bytes that :meth:`close` still has to write."""
