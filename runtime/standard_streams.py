"""Standard output and error that take any text, and are there even where the system gave none."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

_HANDLER = "dcc-replace"
# Besides control characters, those that change the direction of text, and so what a name seems to be.
_UNSAFE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with control characters as escapes such as ``\\x1b``; only line ends and tabs stay.

    Names of files and classes may contain sequences that a terminal would obey.
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class VisibleStream:
    """A text stream that writes control characters as escapes. It has the attributes of ``hidden``."""

    def __init__(self, hidden: TextIO) -> None:
        self.hidden = hidden
        """The stream itself, for what must write sequences for terminals."""

    def write(self, text: str) -> int:
        return self.hidden.write(visible(text))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hidden, name)


def make_streams_safe() -> None:
    """Let ``sys.stdout`` and ``sys.stderr`` take every text, once and for all that a command prints.

    Characters that the encoding does not have become ``?``: on Windows a redirected output has no Greek
    letters. Bytes of file names that are not UTF-8 are written as they are. A closed stream (``>&-``,
    services) becomes one that keeps nothing, so that no file takes its place. Control characters become
    escapes (:func:`visible`), except in an output that is no terminal: it may be data for a program.
    """
    codecs.register_error(_HANDLER, _replace)
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _nowhere())
        elif hasattr(stream, "reconfigure"):  # else somebody's own, such as io.StringIO
            stream.reconfigure(errors=_HANDLER)
            if not isinstance(stream, VisibleStream) and (name == "stderr" or stream.isatty()):
                setattr(sys, name, VisibleStream(stream))


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8", errors="replace")


def _replace(error: UnicodeError) -> tuple[bytes, int]:
    """For :func:`codecs.register_error`; Python marks undecodable bytes b as the characters 0xDC00 + b."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    marked = (ord(character) - 0xDC00 for character in error.object[error.start : error.end])
    return b"".join(bytes([byte]) if 0x80 <= byte <= 0xFF else b"?" for byte in marked), error.end
