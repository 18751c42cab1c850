"""Reading files that others made: no more than a limit, from nothing that waits or never ends."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

LARGEST = 2 << 30
"""Bytes of a file that is read at once."""


def read_bytes(path: str | os.PathLike[str], largest: int = LARGEST) -> bytes:
    """A file's content. Raises ``OSError``, also for a pipe, a device, and more than ``largest`` bytes.

    Streams that the caller has opened, such as ``/dev/stdin``, are read to their end.
    """
    path = Path(path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode) and not is_open_stream(path):
        reason = "it is a pipe or a device, not a file: save its content in one"
        raise OSError(errno.EINVAL, reason, str(path))
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"it has more than {largest >> 20} MB", str(path))
    return content


def is_open_stream(path: Path) -> bool:
    """Whether the path stands for a stream that this process has open already, such as ``/dev/stdin``."""
    streams = ("/dev/stdin", "/dev/stdout", "/dev/stderr")
    return str(path.parent) in ("/dev/fd", "/proc/self/fd") or str(path) in streams


def read_text(path: str | os.PathLike[str]) -> str:
    """A file's content as UTF-8, without a byte-order mark.

    Raises ``OSError`` as :func:`read_bytes`, and ``UnicodeDecodeError``, which is a ``ValueError``.
    """
    return read_bytes(path).decode("utf-8-sig")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The values in a JSON file. Raises ``OSError`` as :func:`read_bytes`, and ``ValueError``."""
    return parse_json(read_text(path))


def parse_json(text: str | bytes) -> Any:
    """The values in a JSON text. Raises ``ValueError``, also for lists and objects nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its lists and objects are nested too deeply") from None
