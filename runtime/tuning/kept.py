"""Where the choice for a bundle is kept: in its folder or, where that is not possible, the user's cache."""

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

    The bundle's folder comes first, then the user's cache. Raises nothing.
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
        if stale is None:
            return choice, None
        reason = reason or stale
    return None, reason


def keep(bundle: Bundle, choice: Choice) -> Path:
    """Write the choice, and return its file. Raises :class:`DccError` where nothing can be written."""
    remove(bundle)  # an older one elsewhere would come first
    text = json.dumps(dataclasses.asdict(choice), indent=2) + "\n"
    if not _is_kept_by_dcc(bundle) and os.access(bundle.path, os.W_OK):
        with contextlib.suppress(DccError):  # a file system that only looks writable
            write_text(bundle.path / FILE, text)
            return bundle.path / FILE
    file = private_cache("tuning") / _cache_name(bundle)
    write_text(file, text)
    return file


def remove(bundle: Bundle) -> list[Path]:
    """Remove every choice for the bundle, also stale ones, and return their files.

    Raises :class:`DccError` where one cannot be removed.
    """
    removed = []
    for file in _files(bundle):
        try:
            file.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DccError(f"cannot remove {file}: {error.strerror or error}") from error
        removed.append(file)
    return removed


def _files(bundle: Bundle) -> list[Path]:
    files = [bundle.path / FILE]
    with contextlib.suppress(DccError):  # a user without a home folder
        folder = user_cache() / "tuning"
        if folder.is_dir():
            files.append(folder / _cache_name(bundle))
    return files


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
