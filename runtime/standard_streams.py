"""Standard output and error that take any text, and are there even where the system gave none."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path
from typing import Any, TextIO

_HANDLER = "dcc-replace"


def make_streams_safe() -> None:
    """Let ``sys.stdout`` and ``sys.stderr`` take every text, once and for all that a command prints.

    Characters that the encoding does not have become ``?``: on Windows a redirected output has no Greek
    letters. Bytes of file names that are not UTF-8 are written as they are. A closed stream (``>&-``,
    services) becomes one that keeps nothing, so that no file takes its place.
    """
    codecs.register_error(_HANDLER, _replace)
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _nowhere())
        elif hasattr(stream, "reconfigure"):  # else somebody's own, such as io.StringIO
            stream.reconfigure(errors=_HANDLER)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8", errors="replace")


def _replace(error: UnicodeError) -> tuple[bytes, int]:
    """For :func:`codecs.register_error`; Python marks undecodable bytes b as the characters 0xDC00 + b."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    marked = (ord(character) - 0xDC00 for character in error.object[error.start : error.end])
    return b"".join(bytes([byte]) if 0x80 <= byte <= 0xFF else b"?" for byte in marked), error.end
