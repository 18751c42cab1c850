"""Unpack untrusted archives safely."""

from __future__ import annotations

import bz2
import errno
import filecmp
import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from dccnet.runtime.errors import DataError, DccError
from dccnet.runtime.scratch import scratch_folder

MOST_FILES = 500_000
BLOCK = 1 << 20
LARGEST_READ = 16 << 20
"""Bytes of one header: the table of a zip file, or the long names of a tar file."""
MOST_GLOBAL_HEADERS = 100
_DRIVE = re.compile(r"^[A-Za-z]:")
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # zipfile's error for an encrypted archive; RecursionError for a chain of headers
    ValueError,
    struct.error,
)
_OF_ARCHIVES = {
    None,
    errno.EINVAL,  # zipfile seeks to impossible places in a damaged archive
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR,  # a name is that of a file and of a folder
    errno.ENAMETOOLONG, errno.EILSEQ,
}  # fmt: skip
"""Numbers of the errors that an archive causes, not the disk."""
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

    Creates only plain files and folders below ``folder``, at most ``largest`` bytes in total. What is there
    stays: folders are merged, and a file may only be there if it is the archive's. ``on_file`` is called
    with the number of each file. Raises :class:`DataError` for a damaged archive, a path that leads out, a
    link, a device, and too many bytes or files, and :class:`DccError` where another file is in the way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder) as scratch:
        content = scratch / "content"
        content.mkdir()
        try:
            _extract(archive, content, largest, on_file)
        except (*_DAMAGED, OSError) as error:
            # Of the disk, not of a decompressor or of names that cannot be.
            if isinstance(error, OSError) and error.errno not in _OF_ARCHIVES:
                raise
            raise DataError(f"{archive} is damaged or encrypted ({error}): fetch it again") from error
        _merge(content, folder, archive)


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
    with archive.open("rb") as file:
        if zipfile.is_zipfile(file):
            file.seek(0)
            yield from _zip_members(file)
            return
        file.seek(0)
        yield from _tar_members(archive, file)


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(cast(IO[bytes], _Bounded(file))) as pack:
        for info in pack.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            plain = kind in (0, stat.S_IFREG) and not info.is_dir()
            yield _Member(info.filename, info.is_dir(), plain, partial(pack.open, info))


def _tar_members(archive: Path, file: IO[bytes]) -> Iterator[_Member]:
    content = cast(IO[bytes], _Bounded(_decompressed(file)))
    try:
        tar = tarfile.TarFile(fileobj=content)
    except tarfile.ReadError:
        raise DataError(
            f"{archive} is neither a zip nor a tar file, or it is damaged: delete it and fetch it again"
        ) from None
    with tar:
        while (entry := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep every header
            if len(tar.pax_headers) > MOST_GLOBAL_HEADERS:
                raise DataError(f"{archive} has too many global headers: it is not unpacked")
            yield _Member(entry.name, entry.isdir(), entry.isreg(), partial(tar.extractfile, entry))


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if magic.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file))
    return cast(IO[bytes], lzma.LZMAFile(file)) if magic == b"\xfd7zXZ\0" else file


class _Bounded:
    """A file from which nothing large is read at once: headers say how long they are, and may lie."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(min(size, LARGEST_READ + 1) if size >= 0 else LARGEST_READ + 1)
        if len(content) > LARGEST_READ:
            raise DataError(f"the archive has a header of over {LARGEST_READ} bytes: it is not unpacked")
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


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


def _merge(content: Path, folder: Path, archive: Path) -> None:
    """Move what was unpacked into ``folder``. Raises :class:`DccError`, before it moves anything, where it
    would replace something else."""
    entries = [(entry, folder / entry.relative_to(content)) for entry in sorted(content.rglob("*"))]
    for entry, target in entries:
        if os.path.lexists(target) and not _is_same(entry, target):
            raise DccError(
                f"{target} is there already and is not what {archive.name} contains: move it away and call "
                "again"
            )
    for entry, target in entries:
        if entry.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists():
            entry.replace(target)


def _is_same(entry: Path, target: Path) -> bool:
    if entry.is_dir() or not target.is_file():
        return entry.is_dir() and target.is_dir()
    return filecmp.cmp(entry, target, shallow=False)
