"""Download one file over HTTP: resumed after interruptions, limited in size, checked against its hash."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dccnet.runtime.addresses import without_secrets
from dccnet.runtime.errors import DataError, DccError
from dccnet.runtime.extras import required
from dccnet.runtime.files import sha256, write_text
from dccnet.runtime.reading import read_json

ATTEMPTS = 5
"""Consecutive attempts without a new byte before the download fails."""
PAUSE = 1.0  # seconds before the second attempt; doubles
TIMEOUT = (15, 60)  # seconds: to connect, between two bytes
BLOCK = 1 << 14  # bytes; a lost connection loses an incomplete block

OnBytes = Callable[[int, int | None], None]
"""Is called with the bytes received so far, and the total if the server reports it."""


def require_downloader(extra: str) -> None:
    """Raise :class:`DccError` if pooch or requests is not installed; ``extra`` is the one that brings
    them."""
    with required("downloading", extra):
        import pooch
        import requests

        del pooch, requests


def download(
    url: str,
    path: Path,
    *,
    known_hash: str | None,
    largest: int,
    on_bytes: OnBytes,
    extra: str,
    page: str,
    pause: float = PAUSE,
) -> str:
    """Download ``url`` to ``path`` and return its SHA-256; an existing file is only checked.

    If the transfer fails, the received bytes stay beside it as ``NAME.part``, and the next call resumes
    it. ``largest`` is in bytes, ``pause`` in seconds. ``extra`` is the one that brings pooch, ``page`` the
    documentation that errors name. Raises :class:`DataError` for a wrong hash or size,
    and :class:`DccError` if pooch is not installed or the server does not deliver the file.
    """
    shown = without_secrets(url)
    require_downloader(extra)
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)  # it would print the hash of every file

    def fetch(address: str, output: str, _: Any) -> None:
        part = path.with_name(path.name + ".part")
        _fetch(address, part, largest, on_bytes, pause, page)
        part.replace(output)
        part.with_suffix(".json").unlink(missing_ok=True)

    there = path.exists()
    try:
        pooch.retrieve(
            url,
            known_hash=None if known_hash is None else f"sha256:{known_hash}",
            fname=path.name,
            path=path.parent,
            downloader=fetch,
        )
    except ValueError as error:  # pooch's error for a wrong hash; it has deleted the file
        raise DataError(
            f"{shown} has changed (its SHA-256 is not {known_hash}), at its source or in transit: "
            f"try again later, or see {page}"
        ) from error
    if there and path.stat().st_size > largest:
        raise DataError(f"{path} is larger than {largest} bytes, so it is not the file at {shown}")
    return sha256(path)


def _fetch(url: str, part: Path, largest: int, on_bytes: OnBytes, pause: float, page: str) -> None:
    """Try again while new bytes arrive."""
    import requests

    failures, shown = 0, without_secrets(url)
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _attempt(url, part, largest, on_bytes)
            return
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status < 500:
                raise DccError(f"{shown} is not available (HTTP {status}): see {page}") from error
            reason = f"HTTP {status}"
        except requests.RequestException as error:
            reason = type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        failures = 0 if after > before else failures + 1
        if failures >= ATTEMPTS:
            raise DccError(
                f"{shown} cannot be fetched ({reason}), {after} bytes have arrived: call again to resume, "
                f"or put the file at {part.with_suffix('')} by other means and call again"
            )
        time.sleep(pause * 2**failures)


def _attempt(url: str, part: Path, largest: int, on_bytes: OnBytes) -> None:
    import requests

    shown = without_secrets(url)
    there = part.stat().st_size if part.exists() else 0
    validator = _read_validator(part, url) if there else None
    headers = {"Accept-Encoding": "identity"}  # a range of a compressed response would not fit the part
    if validator is not None:
        headers |= {"Range": f"bytes={there}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # the part is longer than the file
            part.unlink()
            raise requests.ConnectionError("the range does not exist")
        response.raise_for_status()
        resumed = response.status_code == 206 and _starts_at(response.headers, there)
        there = there if resumed else 0
        length = response.headers.get("Content-Length")
        total = there + int(length) if length is not None and length.isdecimal() else None
        if total is not None and total > largest:
            raise DataError(f"{shown} is {total} bytes, more than the allowed {largest}")
        _write_validator(part, url, response.headers)
        with part.open("ab" if resumed else "wb") as file:
            on_bytes(there, total)
            for block in response.iter_content(BLOCK):
                there += len(block)
                if there > largest:
                    raise DataError(f"{shown} does not end after the allowed {largest} bytes")
                file.write(block)
                on_bytes(there, total)
        if total is not None and there < total:
            raise requests.ConnectionError("the transfer ended early")


def _starts_at(headers: Any, there: int) -> bool:
    return str(headers.get("Content-Range", "")).startswith(f"bytes {there}-")


def _read_validator(part: Path, url: str) -> str | None:
    """The version of the file (ETag or date) that the part belongs to; None: start over."""
    try:
        values = read_json(part.with_suffix(".json"))
        return str(values["validator"]) if values["url"] == without_secrets(url) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_validator(part: Path, url: str, headers: Any) -> None:
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    note = part.with_suffix(".json")
    if validator:
        write_text(note, json.dumps({"url": without_secrets(url), "validator": validator}))
    else:
        note.unlink(missing_ok=True)  # nothing identifies the version that the part belongs to
