"""One process at a time in a folder that is written."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from dccnet.runtime.errors import DccError, DccWarning

LOCK_FILE = ".dcc.lock"
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""A file system without locks, such as NFS without lockd, Lustre without ``-o flock``, and some FUSE."""


class LocksNotSupportedError(Exception):
    """The system or the file system has no locks."""


@contextlib.contextmanager
def folder_lock(
    folder: Path, busy: str, advice: str, on_no_locks: Callable[[str], None], name: str = LOCK_FILE
) -> Iterator[None]:
    """Lock ``folder``, which is created, for this process, until the block or the process ends.

    Where another process holds the lock, the :class:`DccError` says ``busy``, the number of that process,
    its machine and since when, and ``advice``. Where the file system has no locks, nothing is locked and
    ``on_no_locks`` is called with a warning. ``name`` is that of the lock's file. Raises :class:`DccError`
    also for a folder that cannot be written.
    """
    created = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(folder / name)
    except LocksNotSupportedError:
        on_no_locks(
            f"the file system of {folder} has no locks: do not let a second process write there meanwhile"
        )
        yield
        return
    except OSError as error:
        raise DccError(f"cannot write {folder}: {error.strerror or error}") from error
    if file is None:
        raise DccError(f"{busy} ({_holder(folder / name)}): {advice}")
    with file:
        _write_holder(file)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / name).unlink()
                if created:
                    folder.rmdir()  # unless something was written


def output_lock(
    folder: Path, output: object | None = None, name: str = LOCK_FILE
) -> contextlib.AbstractContextManager[None]:
    """Lock a folder that a command fills with files which belong together, as :func:`folder_lock` does.

    ``output`` is what the message names instead of the folder.
    """

    def warn(text: str) -> None:
        warnings.warn(text, DccWarning, stacklevel=2)

    busy = f"another process is writing {output or folder}"
    return folder_lock(folder, busy, "wait for it, or choose another place", warn, name)


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed; False where another process has locked it.

    Raises :class:`LocksNotSupportedError`, always on Windows, and ``OSError``.
    """
    try:
        import fcntl
    except ImportError:
        raise LocksNotSupportedError from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NO_LOCKS:
            raise LocksNotSupportedError from error
        raise
    return True


def _open_locked(path: Path) -> IO[bytes] | None:
    """The file, locked; None where another process has locked it."""
    while True:
        file = path.open("a+b")
        try:
            if not try_lock(file):
                file.close()
                return None
            if is_at(path, file):
                return file
            file.close()  # whoever held the lock has removed the file meanwhile
        except BaseException:
            file.close()
            raise


def is_at(path: Path, file: IO[bytes]) -> bool:
    """Whether the open file is still the one at ``path``."""
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _write_holder(file: IO[bytes]) -> None:
    """Who holds the lock, for the message to others; without it the lock is as good."""
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {since}".encode())
        file.flush()


def _holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(300).decode(errors="replace").strip()
    except OSError:
        text = ""
    return text or "another process"
