"""A table as a Parquet file (extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dccnet.runtime.extras import required


def write_parquet(columns: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write arrays ``(N,)`` by the names of their columns. Raises :class:`DccError` without pyarrow."""
    with required("Parquet", "parquet"):
        import pyarrow
        from pyarrow import parquet
    parquet.write_table(pyarrow.table(dict(columns)), path)
