"""What OpenCV's codecs say about a file: on the process's standard error, and nowhere else.

libjpeg and FFmpeg return a picture for damaged data, too, and only print that it is damaged. While they
run, file descriptor 2 leads to a file in memory; afterwards, what others wrote there is passed on.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_STDERR = 2
_LIBRARY_LINE = re.compile(
    rb"^(?:"
    rb"\[[^\]\n]{1,80} @ (?:0x)?[0-9a-fA-F]+\] .*\n(?: \(.*\n)?"  # FFmpeg, with swscale's second line
    rb"|    Last message repeated \d+ times\n"
    rb"|\[ ?(?:FATAL|ERROR| ?WARN|INFO):\d+@[\d.]+\] .*\n+"  # OpenCV
    rb"|OpenCV: .*\n"
    rb"|(?:Corrupt JPEG data|Premature end of JPEG file|Invalid SOS parameters|Inconsistent progression"
    rb"|Unknown Adobe color|Warning: unknown JFIF|libpng (?:warning|error)).*\n"
    rb")",
    re.MULTILINE,
)


@dataclass(slots=True)
class Heard:
    """The libraries' messages; known when the block has ended."""

    lines: tuple[str, ...] = ()
    alone: bool = True
    """Whether no other thread decoded in the meantime, so that the messages are about this file."""
    listened: bool = True
    """Whether messages could be heard: not on Windows, and not without a standard error."""

    @property
    def last(self) -> str:
        """The last message, as :func:`readable`; empty without one."""
        return readable(self.lines[-1]) if self.lines else ""


def readable(message: str) -> str:
    """A library's message without the name and the address of the part that says it."""
    return re.sub(r"^\[[^\]]*\] (?:global \S+ \S+ )?", "", message).strip().rstrip(".")


class _Capture:
    """The file that the standard error leads to while at least one thread listens."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = self._entries = self._waiting = 0
        self._exclusive = False
        self._file = self._saved = -1

    def enter(self, exclusive: bool, heard: Heard) -> tuple[int, int]:
        """Returns the number of this entry, and the size of the file."""
        with self._changed:
            # One that waits to be alone goes before those that come after it: it would wait for ever.
            self._waiting += exclusive
            self._changed.wait_for(
                lambda: not (self._exclusive or (self._users if exclusive else self._waiting))
            )
            self._waiting -= exclusive
            self._exclusive = exclusive
            if not self._users:
                self._redirect()
            self._users += 1
            self._entries += 1
            heard.alone = self._users == 1
            heard.listened = self._saved >= 0
            return self._entries, self._size()

    def leave(self, entry: int, start: int, heard: Heard) -> None:
        with self._changed:
            self._exclusive = False
            if heard.listened and self._size() > start:
                text = os.pread(self._file, self._size() - start, start)
                lines = (found[0] for found in _LIBRARY_LINE.finditer(text))
                heard.lines = tuple(line.decode(errors="replace").strip() for line in lines)
            heard.alone = heard.alone and self._users == 1 and self._entries == entry
            self._users -= 1
            if not self._users:
                self.restore()
            self._changed.notify_all()

    def restore(self) -> None:
        """Lead the standard error back, and pass on what is not from the libraries."""
        if self._saved < 0:
            return
        os.dup2(self._saved, _STDERR)
        os.close(self._saved)
        self._saved = -1
        if size := self._size():
            others = _LIBRARY_LINE.sub(b"", os.pread(self._file, size, 0))
            os.lseek(self._file, 0, os.SEEK_SET)
            os.ftruncate(self._file, 0)
            if others:
                os.write(_STDERR, others)

    def _redirect(self) -> None:
        if not hasattr(os, "pread"):
            return
        with contextlib.suppress(OSError):
            if self._file < 0:
                self._file = _memory_file()
            self._saved = os.dup(_STDERR)
            os.dup2(self._file, _STDERR)

    def forget(self) -> None:
        """Lead the standard error of a forked process back; the file is its parent's."""
        if self._saved >= 0:
            os.dup2(self._saved, _STDERR)

    def _size(self) -> int:
        return os.fstat(self._file).st_size if self._file >= 0 else 0


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dcc-messages")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_capture = _Capture()


def _renew() -> None:
    """In a forked process: the threads that listened are not there."""
    global _capture  # noqa: PLW0603
    with contextlib.suppress(OSError):
        _capture.forget()
    _capture = _Capture()


@atexit.register
def _end() -> None:
    """A thread that still waits for a camera must not swallow the last words."""
    _capture.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextlib.contextmanager
def listening(*, exclusive: bool = False) -> Iterator[Heard]:
    """Collect the libraries' messages during the block; see :class:`Heard` for when there are none.

    Threads may listen at once. With ``exclusive``, the block waits until no other thread does.
    """
    capture, heard = _capture, Heard()
    entry, start = capture.enter(exclusive, heard)
    try:
        yield heard
    finally:
        capture.leave(entry, start, heard)
