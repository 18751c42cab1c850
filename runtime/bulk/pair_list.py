"""Lists of pairs on disk, CSV or Parquet: counted once, then read in pieces from anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from dccnet.runtime.bulk.csv_list import open_csv
from dccnet.runtime.bulk.listed import Row
from dccnet.runtime.bulk.parquet_list import open_parquet
from dccnet.runtime.errors import DataError, UsageError


class PairList(Protocol):
    """An open list. It can be pickled, for other processes that see the same file."""

    @property
    def path(self) -> Path: ...
    @property
    def rows(self) -> int:
        """Number of pairs."""

    @property
    def sha256(self) -> str:
        """Of the file."""

    @property
    def has_points(self) -> bool: ...
    def absolute(self) -> PairList:
        """The same list for processes that run in other folders."""

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """The rows with these numbers, from 0. Raises :class:`DataError` where the file has changed."""


_KINDS: dict[str, Callable[[Path], PairList]] = {
    ".csv": open_csv,
    ".parquet": open_parquet,
    ".pq": open_parquet,
}


def open_list(path: str | os.PathLike[str]) -> PairList:
    """Read the list once, to its end, in constant memory.

    Raises :class:`UsageError` for a suffix that is neither ``.csv`` nor ``.parquet``, and
    :class:`DataError` for a list that cannot be read, has other columns or no pairs.
    """
    path = Path(path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"a list of pairs is a .csv or a .parquet file, not '{path.name}'")
    if not path.exists():
        raise DataError(f"the list of pairs {path} does not exist")
    if not path.is_file():
        raise DataError(f"the list of pairs {path} is not a file: save its rows in one")
    try:
        found = kind(path)
    except OSError as error:
        raise DataError(f"the list of pairs {path} cannot be read: {error.strerror or error}") from error
    if not found.rows:
        raise DataError(f"the list of pairs {path} is empty")
    return found
