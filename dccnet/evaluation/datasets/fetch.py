"""Bring a benchmark's files to a folder, so that ``dcc eval --data FOLDER`` finds them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dccnet.evaluation.datasets.download import OnBytes, download
from dccnet.evaluation.datasets.sources import Download, Source
from dccnet.evaluation.datasets.unpack import unpack
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import write_text

RECORD = "downloads.json"
ARCHIVES = "archives"


@dataclasses.dataclass(frozen=True, slots=True)
class Listener:
    """Hears of progress."""

    on_start: Callable[[str], None] = lambda text: None
    on_bytes: OnBytes = lambda there, total: None
    on_file: Callable[[int], None] = lambda number: None


def fetch(
    source: Source, folder: Path, mirror: str | None = None, listener: Listener | None = None
) -> None:
    """Download and unpack all files of a benchmark that are not there yet.

    ``mirror`` is an address that the files lie below by their own names. What was downloaded is recorded
    in ``downloads.json`` with its hash, which every later download must have. Raises
    :class:`DccError`.
    """
    listener = listener or Listener()
    record = read_record(folder)
    for item in source.downloads:
        entry = record.get(item.name, {})
        path = _path(item, folder)
        if entry.get("complete") and (item.largest_unpacked or path.exists()):
            continue
        url = item.url if mirror is None else f"{mirror.rstrip('/')}/{item.name}"
        listener.on_start(f"fetching {item.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        known = item.sha256 or entry.get("sha256")
        found = download(url, path, known_hash=known, largest=item.largest, on_bytes=listener.on_bytes)
        record[item.name] = {"url": url, "sha256": found, "bytes": path.stat().st_size, "complete": False}
        _write_record(folder, record)
        if item.largest_unpacked:
            listener.on_start(f"unpacking {item.name}")
            try:
                unpack(path, folder, item.largest_unpacked, listener.on_file)
            except DataError:  # a server's page of apology must not become the hash to hold others against
                path.unlink()
                del record[item.name]
                _write_record(folder, record)
                raise
        record[item.name]["complete"] = True
        _write_record(folder, record)


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """What was downloaded, by file. Raises :class:`DataError` where the record is damaged."""
    path = folder / RECORD
    try:
        values: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(entry, dict) for entry in values.values()):
            raise ValueError("an entry is no object")
        return values
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete it, and fetch again") from error


def _write_record(folder: Path, record: dict[str, dict[str, Any]]) -> None:
    write_text(folder / RECORD, json.dumps(record, indent=2, sort_keys=True) + "\n")


def _path(item: Download, folder: Path) -> Path:
    return folder / ARCHIVES / item.name if item.largest_unpacked else folder / item.name
