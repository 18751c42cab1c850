"""Temporary folders beside what they replace; those of killed processes are removed by the next one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dccnet.runtime.locks import LocksNotSupportedError, is_at, try_lock

_PREFIX = ".dcc-"
_NAME = re.compile(r"\.dcc-[a-z0-9_]{8}")
_OWNER = ".dcc-owner"
"""The file in a scratch folder that its living owner has locked."""
_REPLACED = ".dcc-replaced"
"""What was moved aside, where two folders cannot be exchanged in one step."""
_OLD_S = 24 * 3600.0
"""Seconds without a change after which a scratch folder has no living owner, where there are no locks."""
_searched: set[Path] = set()
_AT_FDCWD, _EXCHANGE = -100, 2  # of Linux' renameat2


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A temporary folder in ``parent``, which is removed after the block.

    The first call for ``parent`` in a process also removes those of processes that were killed. Raises
    ``OSError``.
    """
    if parent not in _searched:
        _searched.add(parent)
        clear_scratch(parent)
    scratch, owner = _owned_folder(parent)
    try:
        with owner:
            yield scratch
    finally:
        if not (scratch / _REPLACED).exists():  # else the only copy of what could not be moved back
            _remove(scratch)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A scratch folder in the system's folder for temporary files."""
    with scratch_folder(Path(tempfile.gettempdir())) as scratch:
        yield scratch


def _owned_folder(parent: Path) -> tuple[Path, IO[bytes]]:
    """A new folder, and its owner's file, locked."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            owner = (scratch / _OWNER).open("wb")
        except FileNotFoundError:
            continue  # a process that clears the parent took it for a dead one's, before the lock was held
        except BaseException:  # such as a full disk
            _remove(scratch)
            raise
        try:
            if try_lock(owner) and is_at(scratch / _OWNER, owner):
                return scratch, owner
        except LocksNotSupportedError:
            return scratch, owner
        owner.close()


def _remove(scratch: Path) -> None:
    """Remove a scratch folder. Its owner's file goes last, so that a folder without one is empty."""
    with contextlib.suppress(OSError):
        for path in scratch.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _OWNER:
                path.unlink(missing_ok=True)
        (scratch / _OWNER).unlink(missing_ok=True)
        scratch.rmdir()


def clear_scratch(parent: Path) -> None:
    """Remove scratch folders in ``parent`` whose owner was killed; restore what one had moved aside."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False) and _is_mine(entry):
                with contextlib.suppress(OSError):
                    _clear(Path(entry.path), parent)


def _is_mine(entry: os.DirEntry[str]) -> bool:
    """Whether this user made it: in folders that all may write, such as /tmp, others' are not touched."""
    return not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()


def _clear(scratch: Path, parent: Path) -> None:
    try:
        with (scratch / _OWNER).open("r+b") as file:
            if _is_dead(file, scratch):
                _restore(scratch, parent)
                _remove(scratch)
    except FileNotFoundError:
        scratch.rmdir()  # its owner was killed before it wrote anything, or makes another folder


def _is_dead(owner: IO[bytes], scratch: Path) -> bool:
    try:
        return try_lock(owner)
    except LocksNotSupportedError:
        return _age(scratch) > _OLD_S


def _age(scratch: Path) -> float:
    """Seconds since the last change in the folder."""
    return time.time() - max(path.stat().st_mtime for path in (scratch, *scratch.iterdir()))


def _restore(scratch: Path, parent: Path) -> None:
    """Move back what a killed process had moved aside and not replaced."""
    aside = scratch / _REPLACED
    if not aside.exists():
        return
    for temporary in scratch.iterdir():
        path = parent / temporary.name
        if temporary.name not in (_OWNER, _REPLACED) and not path.exists():
            aside.replace(path)
            return


def replace_folder(temporary: Path, path: Path) -> None:
    """Put the folder ``temporary``, in a scratch folder, in the place of the folder ``path``.

    Where the system cannot exchange the two in one step, ``path`` is moved aside and, on any exception,
    back. Raises ``OSError``.
    """
    if _exchange(temporary, path):
        return
    aside = temporary.with_name(_REPLACED)
    try:
        path.replace(aside)
        temporary.replace(path)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.replace(path)
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two paths in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(b))
