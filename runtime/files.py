"""Files that are written completely or not at all, and digests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from dccnet.runtime.errors import DccError
from dccnet.runtime.reading import is_open_stream
from dccnet.runtime.scratch import replace_folder, scratch_folder, temporary_folder


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path of the same name; after the block, move what is there to ``path``.

    The caller writes the file (or folder). On an exception nothing is left behind and an older file at
    ``path`` stays unchanged; otherwise the new one has the older one's permissions. A symbolic link stays,
    and what it points to is replaced. A pipe or a device is written to. Raises :class:`DccError` where
    ``path`` cannot be written.
    """
    path = Path(path)
    try:
        with _written_into(path) if _is_stream(path) else _moved_to(_behind_links(path)) as temporary:
            yield temporary
    except OSError as error:
        if isinstance(error, (FileExistsError, NotADirectoryError)) and not path.parent.is_dir():
            raise DccError(
                f"cannot write {path}: {path.parent} is not a folder; name another place"
            ) from None
        raise DccError(f"cannot write {path}: {error.strerror or error}") from error


def _is_stream(path: Path) -> bool:
    """Whether something is at ``path`` that is neither a file nor a folder, or that is already open."""
    if is_open_stream(path):
        return True
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextlib.contextmanager
def _written_into(stream: Path) -> Iterator[Path]:
    with temporary_folder() as scratch:
        temporary = scratch / stream.name
        yield temporary
        with temporary.open("rb") as source, stream.open("wb") as target:
            shutil.copyfileobj(source, target)


@contextlib.contextmanager
def _moved_to(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path.parent) as scratch:
        temporary = scratch / path.name
        yield temporary
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        if temporary.is_dir() and path.is_dir():
            replace_folder(temporary, path)
        else:
            temporary.replace(path)


def native_path(path: str | os.PathLike[str]) -> str:
    """The path for a library that is not Python's, which may crash at a name that is not UTF-8.

    Raises :class:`DccError` for such a name.
    """
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DccError(f"{text} has a name that is not UTF-8: rename it") from None
    return text


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
