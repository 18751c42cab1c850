"""Files that are written completely or not at all, file locks and digests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dccnet.runtime.errors import DccError

_SCRATCH = ".dcc-"


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path of the same name; after the block, move what is there to ``path``.

    The caller writes the file (or folder). On an exception nothing is left behind and an older file at
    ``path`` stays unchanged. Raises :class:`DccError` where the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=path.parent))
    except (FileExistsError, NotADirectoryError):
        raise DccError(f"cannot write {path}: {path.parent} is not a folder; name another place") from None
    except OSError as error:
        raise DccError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        temporary = scratch / path.name
        yield temporary
        _move_into_place(temporary, path, scratch / "replaced")
    except OSError as error:
        raise DccError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move_into_place(temporary: Path, path: Path, aside: Path) -> None:
    if not (temporary.is_dir() and path.is_dir()):
        temporary.replace(path)
        return
    path.replace(aside)  # a folder cannot replace one that is not empty
    try:
        temporary.replace(path)
    except OSError:
        aside.replace(path)
        raise


def clear_scratch(folder: Path) -> None:
    """Remove temporary files in ``folder`` that a killed process left behind."""
    for scratch in folder.glob(f"{_SCRATCH}*"):
        shutil.rmtree(scratch, ignore_errors=True)


def lock(file: IO[Any], in_use: str) -> None:
    """Lock an open file for this process, until the file is closed or the process ends.

    Raises :class:`DccError` with the message ``in_use`` where another process holds the lock. On Windows
    nothing is locked: the user must not run two processes in one folder.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DccError(in_use) from None


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_of(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:  # hashlib.file_digest needs Python 3.11
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
