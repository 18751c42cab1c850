"""Results of many pairs as files: Parquet (extra ``parquet``) or JSON lines (docs/formats.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dccnet.runtime.extras import required
from dccnet.runtime.files import atomic_path
from dccnet.runtime.geometry import Size
from dccnet.runtime.point_matches import PointMatches
from dccnet.runtime.writers import match_lists

SCHEMA = 1
PARQUET, JSONL = "parquet", "jsonl"
FORMATS = (PARQUET, JSONL)
"""Each is also the suffix of its files."""
_AT_ONCE = 10_000  # failures in memory


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """A pair and its matches."""

    pair: int
    """Its number in the list, from 0."""
    source: str
    target: str
    size_a: Size
    """(height, width) of the source in pixels."""
    size_b: Size
    matches: PointMatches
    mirrored: bool
    """Whether the source was matched mirrored."""
    seconds: float


class Failure(NamedTuple):
    """A pair that could not be matched."""

    pair: int
    source: str
    target: str
    error: str
    """The sentence that says why."""


def write_matched(path: Path, rows: Sequence[Matched], model: str, facts: dict[str, Any]) -> None:
    """Write a part, atomically, in the format of its suffix. ``model`` is the bundle's digest, ``facts``
    are plain values about the run, for Parquet's metadata. Raises :class:`DccError`."""
    write = _parquet_rows if path.suffix == f".{PARQUET}" else _json_rows
    with atomic_path(path) as temporary:
        write(temporary, rows, model, facts)


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """Write the pairs that failed, atomically, in the format of the suffix. Raises :class:`DccError`."""
    write = _parquet_failures if path.suffix == f".{PARQUET}" else _json_failures
    with atomic_path(path) as temporary:
        write(temporary, failures)


def require_format(form: str) -> None:
    """Raises :class:`DccError` where a library for the format is missing."""
    if form == PARQUET:
        with required("Parquet", "parquet"):
            import pyarrow  # noqa: F401


def _json_rows(path: Path, rows: Sequence[Matched], model: str, facts: dict[str, Any]) -> None:
    _write_lines(path, (_json_row(row, model) for row in rows))


def _json_row(row: Matched, model: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "pair": row.pair,
        "source": row.source,
        "target": row.target,
        "size_a": list(row.size_a),
        "size_b": list(row.size_b),
        **match_lists(row.matches),
        "mirrored": row.mirrored,
        "seconds": round(row.seconds, 6),
        "model": model,
    }


def _json_failures(path: Path, failures: Iterable[Failure]) -> None:
    _write_lines(path, (failure._asdict() for failure in failures))


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, allow_nan=False) + "\n" for record in records)


def _parquet_rows(path: Path, rows: Sequence[Matched], model: str, facts: dict[str, Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    metadata = {"dcc": json.dumps({"schema": SCHEMA, **facts})}
    schema = pa.schema(_fields(), metadata=metadata)
    sizes = np.array([(*row.size_a, *row.size_b) for row in rows], np.int32).reshape(-1, 4)
    columns = [
        pa.array([row.pair for row in rows], pa.int64()),
        pa.array([row.source for row in rows], pa.string()),
        pa.array([row.target for row in rows], pa.string()),
        *(pa.array(sizes[:, i]) for i in range(4)),
        *(_lists(rows, values) for values in _VALUES),
        _lists(rows, lambda m: m.confidence) if _have_confidence(rows) else pa.nulls(len(rows), _floats()),
        pa.array([row.mirrored for row in rows], pa.bool_()),
        pa.array([row.seconds for row in rows], pa.float32()),
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([model])),
    ]
    table = pa.Table.from_arrays(columns, schema=schema)
    parquet.write_table(table, path, compression="zstd")


_VALUES: tuple[Callable[[PointMatches], Any], ...] = (
    lambda matches: matches.points_a[:, 0],
    lambda matches: matches.points_a[:, 1],
    lambda matches: matches.points_b[:, 0],
    lambda matches: matches.points_b[:, 1],
    lambda matches: matches.scores,
)


def _floats() -> Any:
    import pyarrow as pa

    return pa.list_(pa.float32())


def _fields() -> list[Any]:
    import pyarrow as pa

    sizes = ("source_height", "source_width", "target_height", "target_width")
    lists = ("x_a", "y_a", "x_b", "y_b", "score", "confidence")
    return [
        pa.field("pair", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("target", pa.string()),
        *(pa.field(name, pa.int32()) for name in sizes),
        *(pa.field(name, _floats()) for name in lists),
        pa.field("mirrored", pa.bool_()),
        pa.field("seconds", pa.float32()),
        pa.field("model", pa.dictionary(pa.int32(), pa.string())),
    ]


def _have_confidence(rows: Sequence[Matched]) -> bool:
    return bool(rows) and rows[0].matches.confidence is not None


def _lists(rows: Sequence[Matched], values: Callable[[PointMatches], Any]) -> Any:
    import pyarrow as pa

    ends = np.cumsum([0, *(len(row.matches) for row in rows)]).astype(np.int32)
    flat = [np.asarray(values(row.matches), np.float32) for row in rows]
    flat_values = np.concatenate(flat) if flat else np.zeros(0, np.float32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat_values))


def _parquet_failures(path: Path, failures: Iterable[Failure]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = (pa.int64(), pa.string(), pa.string(), pa.string())
    schema = pa.schema(list(zip(Failure._fields, kinds, strict=True)))
    iterator = iter(failures)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(iterator, _AT_ONCE)):
            writer.write_table(pa.Table.from_pylist([failure._asdict() for failure in some], schema=schema))
