"""A Parquet list of pairs (extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dccnet.runtime.bulk.listed import Columns, Row, columns_of, stamp_of
from dccnet.runtime.errors import DataError
from dccnet.runtime.extras import required
from dccnet.runtime.files import sha256

_AT_ONCE = 8192  # rows that are decoded at once


@dataclass(frozen=True, slots=True)
class ParquetList:
    """An open list."""

    path: Path
    sha256: str
    columns: Columns
    groups: tuple[int, ...]
    """Number of rows of each row group."""
    stamp: tuple[int, int]

    @property
    def rows(self) -> int:
        return sum(self.groups)

    @property
    def has_points(self) -> bool:
        return self.columns.points is not None

    def absolute(self) -> ParquetList:
        """See :class:`~dccnet.runtime.bulk.pair_list.PairList`."""
        return replace(self, path=self.path.absolute())

    def read(self, start: int, stop: int) -> Iterator[Row]:
        """See :class:`~dccnet.runtime.bulk.pair_list.PairList`."""
        import pyarrow
        from pyarrow import parquet

        if stamp_of(self.path) != self.stamp:
            raise DataError(f"{self.path} has changed since the run began: start again with --restart")
        first, chosen, end = 0, [], 0
        for number, count in enumerate(self.groups):
            if end < stop and end + count > start:
                chosen.append(number)
            elif not chosen:
                first = end + count
            end += count
        names = [self.columns.source, self.columns.target]
        names += [] if self.columns.points is None else [self.columns.points]
        try:
            with parquet.ParquetFile(self.path) as file:
                batches = file.iter_batches(_AT_ONCE, row_groups=chosen, columns=names)
                for batch in batches:
                    low, high = max(start - first, 0), min(stop - first, batch.num_rows)
                    if low < high:
                        yield from _rows(batch.slice(low, high - low), names)
                    first += batch.num_rows
                    if first >= stop:  # the rest of a row group may be long
                        return
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(self.path, error) from error


def open_parquet(path: Path) -> ParquetList:
    """See :func:`~dccnet.runtime.bulk.pair_list.open_list`."""
    with required("a Parquet list", "parquet"):
        import pyarrow
        from pyarrow import parquet
    try:
        with parquet.ParquetFile(path) as file:
            columns = columns_of(path, file.schema_arrow.names)
            for name in (columns.source, columns.target):
                kind = file.schema_arrow.field(name).type
                kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
                if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                    raise DataError(f"the column {name} of {path} has the type {kind}: write it as text")
            groups = tuple(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    return ParquetList(path, sha256(path), columns, groups, stamp_of(path))


def _rows(batch: Any, names: list[str]) -> Iterator[Row]:
    for source, target, *points in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
        yield Row(source or "", target or "", points[0] if points else None)


def _damaged(path: Path, error: Exception) -> DataError:
    said = " ".join(str(error).split())[:200]
    return DataError(f"{path} is damaged, or no Parquet file ({said}): make the list again")
