"""Download a benchmark's files into a folder for ``dcc eval --data FOLDER``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from dccnet.evaluation.datasets.sources import Download, Source
from dccnet.runtime.addresses import without_secrets
from dccnet.runtime.decoding import decode
from dccnet.runtime.download import OnBytes, download, require_downloader
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import write_text
from dccnet.runtime.locks import folder_lock
from dccnet.runtime.messages import warn
from dccnet.runtime.reading import read_json
from dccnet.runtime.unpack import unpack

RECORD = "downloads.json"
ARCHIVES = "archives"


@dataclasses.dataclass(frozen=True, slots=True)
class Listener:
    """Functions that are called with the progress."""

    on_start: Callable[[str], None] = lambda text: None
    on_bytes: OnBytes = lambda there, total: None
    on_file: Callable[[int], None] = lambda number: None


def fetch(
    source: Source, folder: Path, mirror: str | None = None, listener: Listener | None = None
) -> None:
    """Download and unpack the missing files of a benchmark.

    ``mirror`` is the address of a folder with the files under their own names. ``downloads.json`` records
    the hash of each downloaded file, which every later download must match. Raises :class:`DccError`, also
    where another process fetches into ``folder``.
    """
    busy = f"another process is fetching into {folder}"
    with folder_lock(folder, busy, "wait for it, or choose another folder", warn):
        _fetch(source, folder, mirror, listener or Listener())


def _fetch(source: Source, folder: Path, mirror: str | None, listener: Listener) -> None:
    record = read_record(folder)
    for item in source.downloads:
        entry = record.get(item.name)
        path = _path(item, folder)
        if entry is not None and entry.complete and (item.largest_unpacked or path.exists()):
            continue
        url = item.url if mirror is None else f"{mirror.rstrip('/')}/{item.name}"
        require_downloader("data")
        listener.on_start(f"fetching {item.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        known = item.sha256 or (entry.sha256 if entry else None)
        digest = download(
            url,
            path,
            known_hash=known,
            largest=item.largest,
            on_bytes=listener.on_bytes,
            extra="data",
            page="docs/evaluation.md",
        )
        downloaded = Downloaded(without_secrets(url), digest, path.stat().st_size, complete=False)
        record[item.name] = downloaded
        _write_record(folder, record)
        if item.largest_unpacked:
            listener.on_start(f"unpacking {item.name}")
            try:
                unpack(path, folder, item.largest_unpacked, listener.on_file)
            except DataError:  # the hash of an error page must not be required of later downloads
                path.unlink()
                del record[item.name]
                _write_record(folder, record)
                raise
        record[item.name] = dataclasses.replace(downloaded, complete=True)
        _write_record(folder, record)


@dataclasses.dataclass(frozen=True, slots=True)
class Downloaded:
    """A downloaded file."""

    url: str
    sha256: str
    bytes: int
    complete: bool
    """Whether it has also been unpacked, if it is an archive."""


def read_record(folder: Path) -> dict[str, Downloaded]:
    """The downloaded files by name. Raises :class:`DataError` if the record is damaged."""
    path = folder / RECORD
    try:
        values = read_json(path)
        return {name: decode(Downloaded, entry, name) for name, entry in values.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete it and fetch again") from error


def _write_record(folder: Path, record: dict[str, Downloaded]) -> None:
    content = {name: dataclasses.asdict(entry) for name, entry in record.items()}
    write_text(folder / RECORD, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _path(item: Download, folder: Path) -> Path:
    return folder / ARCHIVES / item.name if item.largest_unpacked else folder / item.name
