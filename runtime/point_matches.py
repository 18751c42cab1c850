"""Matched points, independent of how they were found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Points
from dccnet.runtime.extras import required
from dccnet.runtime.files import atomic_path
from dccnet.runtime.one_line import OneLine
from dccnet.runtime.parquet_file import write_parquet


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PointMatches(OneLine):
    """N matched points, in pixels (x, y) of the original pictures, 0-based."""

    points_a: Points  # (N, 2)
    points_b: Points  # (N, 2)
    scores: NDArray[np.float32]  # (N,)
    confidence: NDArray[np.float32] | None = None
    """``(N,)`` in [0, 1]: probability that each match is right (:mod:`dccnet.runtime.confidence`); None
    from a bundle without confidence."""

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: NDArray[Any]) -> PointMatches:
        """The matches of these numbers, in their order, or for which a mask ``(N,)`` is true."""
        confidence = None if self.confidence is None else self.confidence[chosen]
        return PointMatches(self.points_a[chosen], self.points_b[chosen], self.scores[chosen], confidence)

    def to_dataframe(self) -> Any:
        """A ``pandas.DataFrame`` of :meth:`columns`, with a row for each match.

        Raises :class:`DccError` where pandas is not installed (extra ``dataframe``).
        """
        with required("a DataFrame", "dataframe"):
            import pandas
        return pandas.DataFrame(self.columns())

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`columns` as a Parquet file, atomically.

        Raises :class:`DccError` where pyarrow is not installed (extra ``parquet``) or writing fails.
        """
        with atomic_path(path) as temporary:
            write_parquet(self.columns(), temporary)

    def columns(self) -> dict[str, NDArray[Any]]:
        """``(N,)`` for each column of a table: ``x_a, y_a, x_b, y_b, score``, and ``confidence`` where
        there is any; pixels as above."""
        columns: dict[str, NDArray[Any]] = {
            "x_a": self.points_a[:, 0],
            "y_a": self.points_a[:, 1],
            "x_b": self.points_b[:, 0],
            "y_b": self.points_b[:, 1],
            "score": self.scores,
        }
        if self.confidence is not None:
            columns["confidence"] = self.confidence
        return columns

    def confident(self, least: float | None) -> NDArray[np.bool_]:
        """``(N,)``: which matches have at least this confidence; all of them if ``least`` is None.

        Raises ``ValueError`` where there is no confidence.
        """
        if least is None:
            return np.ones(len(self), bool)
        if self.confidence is None:
            raise ValueError("these matches have no confidence: the bundle has none (see dcc confidence)")
        return np.asarray(self.confidence >= least, np.bool_)


def mutual_cells(index: NDArray[np.int64], back: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``(n,)``: which of n cells, row-major, are the best match of their own best match.

    ``index`` has the best match of each of the n cells in the other picture, ``back`` that of each cell of
    the other picture; both are row-major cells, in any shape.
    """
    return np.asarray(back.ravel()[index.ravel()] == np.arange(index.size), np.bool_)
