"""Where the choice for a bundle is kept: in its folder, or in the user's cache.

A folder can be copied together with its choice, also to somebody else with such a machine. That is why a
choice of bfloat16, which is less exact, is kept in the cache alone: nobody gets it who did not ask for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import DccError
from dccnet.runtime.files import write_text
from dccnet.runtime.models.names import BUILT_IN
from dccnet.runtime.reading import read_json
from dccnet.runtime.tuning.choice import Choice, digests, this_machine
from dccnet.runtime.user_cache import private_cache, user_cache

FILE = "tuning.json"
LARGEST = 1 << 20


def find(bundle: Bundle) -> tuple[Choice | None, str | None]:
    """The choice that holds for the bundle here, and why one that was found does not; neither: never tuned.

    The user's cache comes first, then the bundle's folder. Raises nothing.
    """
    reason = None
    for file in _files(bundle):
        try:
            if not file.is_file() or file.stat().st_size > LARGEST:
                continue
            choice = decode(Choice, read_json(file))
        except (OSError, ValueError) as error:
            reason = reason or f"{file} is damaged ({error})"
            continue
        stale = choice.staleness(bundle.manifest)
        if stale is None and choice.bf16 and file.parent == bundle.path:
            stale = f"{file} may be somebody else's, and bfloat16 is only for who asked for it"
        if stale is None:
            return choice, None
        reason = reason or stale
    return None, reason


def keep(bundle: Bundle, choice: Choice) -> Path:
    """Write the choice, and return its file. Raises :class:`DccError` where nothing can be written."""
    text = json.dumps(dataclasses.asdict(choice), indent=2) + "\n"
    own = bundle.path / FILE
    if not choice.bf16 and not _is_kept_by_dcc(bundle) and os.access(bundle.path, os.W_OK):
        for older in _files(bundle):  # the cache's would come first
            _unlink(older)
        with contextlib.suppress(DccError):  # a file system that only looks writable
            write_text(own, text)
            return own
    file = private_cache("tuning") / _cache_name(bundle)
    write_text(file, text)
    if own in _files(bundle):
        with contextlib.suppress(DccError):  # it comes second
            _unlink(own)
    return file


def remove(bundle: Bundle) -> list[Path]:
    """Remove every choice for the bundle, also stale ones, and return their files.

    Raises :class:`DccError` where one cannot be removed.
    """
    return [file for file in _files(bundle) if _unlink(file)]


def _unlink(file: Path) -> bool:
    """Remove a file; False where there is none. Raises :class:`DccError`."""
    try:
        file.unlink()
    except OSError as error:
        if not os.path.lexists(file):  # of which a file system that is read-only says something else
            return False
        raise DccError(f"cannot remove {file}: {error.strerror or error}") from error
    return True


def _files(bundle: Bundle) -> list[Path]:
    """Where a choice may be: in the folder of a bundle that dcc keeps, there is only somebody else's."""
    files = []
    with contextlib.suppress(DccError):  # a user without a home folder
        folder = user_cache() / "tuning"
        if folder.is_dir():
            files.append(folder / _cache_name(bundle))
    return files if _is_kept_by_dcc(bundle) else [*files, bundle.path / FILE]


def _cache_name(bundle: Bundle) -> str:
    key = [digests(bundle.manifest), dataclasses.asdict(this_machine())]
    return f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]}.json"


def _is_kept_by_dcc(bundle: Bundle) -> bool:
    """Whether the folder is that of a built-in model, or of one that was fetched: dcc changes neither."""
    path = bundle.path.resolve()
    kept = [BUILT_IN.resolve()]
    with contextlib.suppress(DccError):
        kept.append((user_cache() / "models").resolve())
    return any(path.is_relative_to(folder) for folder in kept)
