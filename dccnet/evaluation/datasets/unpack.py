"""Unpack untrusted archives safely."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from dccnet.runtime.errors import DataError

MOST_FILES = 500_000
BLOCK = 1 << 20
_DRIVE = re.compile(r"^[A-Za-z]:")
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # zipfile's error for an encrypted archive
)
_SCRATCH = ".dcc-unpacking-"
_LITTER = ("__MACOSX", ".DS_Store")


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    name: str
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def unpack(
    archive: Path, folder: Path, largest: int, on_file: Callable[[int], None] = lambda number: None
) -> None:
    """Unpack a ``.zip`` or tar file into ``folder``, completely or not at all.

    Creates only plain files and folders below ``folder``, at most ``largest`` bytes in total, and replaces
    entries of the same name. ``on_file`` is called with the number of each file. Raises :class:`DataError`
    for a damaged archive, a path that leads out, a link, a device, and too many bytes or files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_SCRATCH}*"):  # left by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
    try:
        _extract(archive, scratch, largest, on_file)
        for entry in sorted(scratch.iterdir()):
            _replace(entry, folder / entry.name)
    except _DAMAGED as error:
        raise DataError(f"{archive} is damaged or encrypted ({error}): fetch it again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, folder: Path, largest: int, on_file: Callable[[int], None]) -> None:
    written = 0
    for number, member in enumerate(_members(archive), start=1):
        if number > MOST_FILES:
            raise DataError(f"{archive} holds more than {MOST_FILES} files: it is not unpacked")
        path = folder / _safe(member, archive)
        if any(part in _LITTER or part.startswith("._") for part in path.relative_to(folder).parts):
            continue
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        assert source is not None
        with source, path.open("wb") as target:  # count bytes, because sizes in headers may be wrong
            while block := source.read(BLOCK):
                written += len(block)
                if written > largest:
                    raise DataError(f"{archive} unpacks to more than {largest} bytes: it is not unpacked")
                target.write(block)
        on_file(number)


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as pack:
            for info in pack.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                plain = kind in (0, stat.S_IFREG) and not info.is_dir()
                yield _Member(info.filename, info.is_dir(), plain, partial(pack.open, info))
        return
    if not tarfile.is_tarfile(archive):
        raise DataError(f"{archive} is neither a zip nor a tar file: delete it and fetch it again")
    with tarfile.open(archive) as tar:
        for entry in tar:
            yield _Member(entry.name, entry.isdir(), entry.isreg(), partial(tar.extractfile, entry))


def _safe(member: _Member, archive: Path) -> PurePosixPath:
    """The member's path below the folder. Raises :class:`DataError` for a member that is not allowed."""
    name = member.name
    path = PurePosixPath(name)
    foreign = "\\" in name or "\0" in name or _DRIVE.match(name)
    if foreign or path.is_absolute() or ".." in path.parts or not (path.parts or member.is_folder):
        raise DataError(f"{archive} holds a path that leads out of it ('{name}'): it is not unpacked")
    if not (member.is_folder or member.is_file):
        raise DataError(f"{archive} holds a link or a device ('{name}'): it is not unpacked")
    return path


def _replace(entry: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    entry.replace(target)
