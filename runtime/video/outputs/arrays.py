"""``.npz`` of a whole video, written without keeping it in memory."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from dccnet.runtime.video.outputs.records import reported_matches
from dccnet.runtime.video.outputs.sink import OutputFrame
from dccnet.runtime.video.references import frame_number
from dccnet.runtime.writers import SCHEMA


class ArrayFile:
    """An ``.npz`` file. Each array grows as raw bytes in a file beside it; closing packs them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns: dict[str, _Column] = {}
        self._references: list[str] = []
        self._rows = 0

    @property
    def reserve(self) -> int:
        return sum(column.nbytes for column in self._columns.values())

    def write(self, frame: OutputFrame) -> None:
        result, correspondences = frame.result, frame.result.correspondences
        matches = reported_matches(result)
        self._rows += len(matches)
        row: dict[str, Any] = {
            "frame": np.int64(result.index),
            "time_s": np.float64(result.time_s),
            "size": np.array(correspondences.size_b, np.int32),
            "index_a": correspondences.index_a.astype(np.int32),
            "score_a": correspondences.score_a,
            "index_b": correspondences.index_b.astype(np.int32),
            "score_b": correspondences.score_b,
            "end": np.int64(self._rows),
        }
        name = result.reference.name
        number = frame_number(name)
        row["reference_frame"] = np.int64(-1 if number is None else number)
        if number is None and name not in self._references:
            self._references.append(name)
        row["reference"] = np.int32(-1 if number is not None else self._references.index(name))
        rows_per_match: dict[str, Any] = {
            "points_a": matches.points_a,
            "points_b": matches.points_b,
            "scores": matches.scores,
        }
        if matches.confidence is not None:
            rows_per_match["confidence"] = matches.confidence
            row["confidence_a"], row["confidence_b"] = (
                correspondences.confidence_a,
                correspondences.confidence_b,
            )
        if result.carried is not None and result.carried.points is not None:
            rows_per_match["distances"] = result.carried.points.distances
            rows_per_match["visible"] = result.carried.points.visible
        if result.carried is not None and result.carried.boxes is not None:
            row["boxes_b"] = result.carried.boxes.boxes_b
            row["box_scores"] = result.carried.boxes.scores
            row["box_visible"] = result.carried.boxes.visible
        for name, value in row.items():
            self._column(name).append(np.asarray(value)[None])
        for name, value in rows_per_match.items():
            self._column(name).append(np.asarray(value))

    def close(self) -> None:
        """Pack the arrays. Raises ``OSError``. The raw files are removed with the temporary folder."""
        for column in self._columns.values():
            column.close()
        constants = {"schema": np.array(SCHEMA), "references": np.array(self._references, str)}
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, value in constants.items():
                with archive.open(f"{name}.npy", "w") as file:
                    npy.write_array(file, value)
            for name, column in self._columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    column.copy_to(file)

    def _column(self, name: str) -> _Column:
        if name not in self._columns:
            self._columns[name] = _Column(self._path.with_name(f"{name}.raw"))
        return self._columns[name]


class _Column:
    """A file of raw arrays of one dtype and one shape, except for the first axis, that is appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._dtype: np.dtype[Any] | None = None
        self._shape: tuple[int, ...] = ()
        self._rows = self.nbytes = 0

    def append(self, rows: Any) -> None:
        if self._dtype is None:
            self._dtype, self._shape = rows.dtype, rows.shape[1:]
        self._file.write(rows.tobytes())
        self._rows += len(rows)
        self.nbytes += rows.nbytes

    def close(self) -> None:
        self._file.close()

    def copy_to(self, target: Any) -> None:
        """Write all rows to ``target`` as ``.npy``."""
        assert self._dtype is not None
        shape = (self._rows, *self._shape)
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_2_0(target, header)
        with self._path.open("rb") as source:
            _copy(source, target)


def _copy(source: BinaryIO, target: Any) -> None:
    while block := source.read(1 << 20):
        target.write(block)
