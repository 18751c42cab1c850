"""The user's cache folder, for files that dcc made itself and trusts when it reads them again."""

from __future__ import annotations

import os
from pathlib import Path

from dccnet.runtime.errors import DccError

_OTHERS_WRITE = 0o022
"""Permission bits with which the group or everybody may write."""


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/dcc``, or ``~/.cache/dcc``.

    Raises :class:`DccError` where the user has no home folder, as in a container with an unknown user.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # by the XDG specification, a relative path must be ignored
        return base / "dcc"
    try:
        return Path.home() / ".cache" / "dcc"
    except RuntimeError:
        raise DccError(
            "this user has no home folder: set HOME, or set XDG_CACHE_HOME to a folder that only this user "
            "can write"
        ) from None


def private_cache(name: str) -> Path:
    """The folder ``name`` of the cache, created if need be, which nobody but the user can write.

    It contains code that is loaded: engines and compiled loops. A folder of the user's that others may
    write is closed to them. Raises :class:`DccError` for a folder of somebody else, and for one that cannot
    be created.
    """
    root = user_cache()
    folder = root / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if hasattr(os, "getuid"):
            for each in (root, folder):
                _close_to_others(each)
    except OSError as error:
        raise DccError(
            f"cannot use the cache {folder} ({error.strerror or error}): set XDG_CACHE_HOME to a folder "
            "that only you can write"
        ) from error
    return folder


def _close_to_others(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.getuid():
        raise PermissionError(0, "it belongs to another user")
    if status.st_mode & _OTHERS_WRITE:
        folder.chmod(status.st_mode & 0o7777 & ~_OTHERS_WRITE)
