"""A CSV list of pairs."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from dccnet.runtime.bulk.listed import Columns, Row, columns_of, stamp_of
from dccnet.runtime.errors import DataError

EVERY = 1024
"""Pairs between two places from which rows can be read."""
LONGEST = 16 << 20
"""Bytes of a line: a file without any end of a line is no list."""


@dataclass(frozen=True, slots=True)
class CsvList:
    """An open list of the size and time ``stamp``."""

    path: Path
    rows: int
    sha256: str
    header: tuple[str, ...]
    columns: Columns
    places: tuple[int, ...]
    """Byte at which every :data:`EVERY`-th pair starts."""
    stamp: tuple[int, int]

    @property
    def has_points(self) -> bool:
        return self.columns.points is not None

    def absolute(self) -> CsvList:
        """See :class:`~dccnet.runtime.bulk.pair_list.PairList`."""
        return replace(self, path=self.path.absolute())

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """See :class:`~dccnet.runtime.bulk.pair_list.PairList`."""
        if start >= stop:
            return
        if stamp_of(self.path) != self.stamp:
            raise DataError(f"{self.path} has changed since the run began: start again with --restart")
        block = start // EVERY
        with self.path.open("rb") as file:
            file.seek(self.places[block])
            for number, cells in enumerate(_rows(self.path, file), start=block * EVERY):
                if number >= stop:
                    return
                if number >= start:
                    yield self._row(cells)

    def _row(self, cells: list[str]) -> Row:
        if len(cells) != len(self.header):
            many = f"{len(cells)} columns, the header {len(self.header)}"
            return Row("", "", problem=f"the row has {many}: put quotes around texts with commas")
        row = dict(zip(self.header, cells, strict=True))
        names, points = self.columns, self.columns.points
        return Row(row[names.source], row[names.target], None if points is None else row[points])


def open_csv(path: Path) -> CsvList:
    """See :func:`~dccnet.runtime.bulk.pair_list.open_list`."""
    stamp, digest, places, rows = stamp_of(path), hashlib.sha256(), [], 0
    with path.open("rb") as file:
        counter = _Counter(file, digest)
        table = _rows(path, counter)
        header = tuple(name.strip() for name in next(table, []))
        columns = columns_of(path, header)
        before = counter.bytes
        for _ in table:
            if rows % EVERY == 0:
                places.append(before)
            rows, before = rows + 1, counter.bytes
    return CsvList(path, rows, digest.hexdigest(), header, columns, tuple(places), stamp)


class _Counter:
    """Lines of a file, counted in bytes and in a digest."""

    def __init__(self, file: IO[bytes], digest: hashlib._Hash) -> None:
        self._file, self._digest, self.bytes = file, digest, 0

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(limit)
        self.bytes += len(line)
        self._digest.update(line)
        return line


def _rows(path: Path, file: IO[bytes] | _Counter) -> Iterator[list[str]]:
    """Rows from here on, without empty ones. Raises :class:`DataError`."""
    try:
        for cells in csv.reader(_lines(path, file), strict=True):
            if cells:
                yield cells
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged, or no CSV file ({error}): make the list again") from error


def _lines(path: Path, file: IO[bytes] | _Counter) -> Iterator[str]:
    first = isinstance(file, _Counter)  # the start of the file, where a byte-order mark may be
    while line := file.readline(LONGEST):
        if len(line) == LONGEST:
            raise DataError(f"{path} has a line of more than {LONGEST >> 20} MB: it is no list of pairs")
        yield line.decode("utf-8-sig" if first else "utf-8")
        first = False
