"""The calibration table: ranges by tensor, valid only for the graphs that it was made from."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.calibration.frames import Frame
from dccnet.calibration.int8.layers import Layer
from dccnet.calibration.int8.methods import METHODS, SIGNED, UNSIGNED, Range
from dccnet.calibration.int8.observe import Histograms
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.decoding import DecodingError, decode
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import write_text
from dccnet.runtime.reading import read_json

SCHEMA = 1
_LEVELS = {"signed": SIGNED, "unsigned": UNSIGNED}


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """Ranges of tensors by every method, so that one table serves all methods."""

    graphs: Mapping[str, str]
    """SHA-256 of each graph that the table was made from, by name."""
    frames: Sequence[tuple[str, str]]
    """Name and SHA-256 of each frame."""
    ranges: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Range]]]]
    """By graph, tensor, ``signed`` or ``unsigned``, and method."""

    def range(self, layer: Layer, tensor: str, method: str, *, symmetric: bool) -> Range:
        """The range of ``tensor``, by ``method``; ``symmetric`` for signed INT8, else for UINT8.

        Raises :class:`DataError` where the table was made without the layer.
        """
        try:
            return self.ranges[layer.graph][tensor]["signed" if symmetric else "unsigned"][method]
        except KeyError:
            raise DataError(
                f"the calibration table has no ranges for {layer.name}: make one with the same --include"
            ) from None

    def restricted_to(self, tensors: Collection[tuple[str, str]]) -> CalibrationTable:
        """A table with the ranges of these (graph, tensor) only."""
        ranges = {
            graph: {tensor: kinds for tensor, kinds in known.items() if (graph, tensor) in tensors}
            for graph, known in self.ranges.items()
        }
        return CalibrationTable(self.graphs, self.frames, ranges)

    def check(self, bundle: Bundle, name: str) -> None:
        """Raise :class:`DataError`, with the table's ``name``, if it was made from other graphs."""
        for graph, digest in self.graphs.items():
            found = bundle.manifest.graphs.get(graph)
            if found is None or found.sha256 != digest:
                raise DataError(
                    f"{name} belongs to another network, or to another export of it: the {graph} of "
                    f"{bundle.path} is not the graph that it was made from; calibrate with --data"
                )


def make_table(bundle: Bundle, frames: Sequence[Frame], histograms: Histograms) -> CalibrationTable:
    """The range of every tensor by every method, rounded to the digits that the file has."""
    ranges = {
        graph: {
            tensor: {
                kind: {name: _rounded(method(histogram, levels)) for name, method in METHODS.items()}
                for kind, levels in _LEVELS.items()
            }
            for tensor, histogram in tensors.items()
        }
        for graph, tensors in histograms.items()
    }
    digests = {graph: bundle.manifest.graphs[graph].sha256 for graph in histograms}
    return CalibrationTable(digests, [(frame.name, frame.sha256) for frame in frames], ranges)


def table_values(table: CalibrationTable) -> dict[str, Any]:
    """The table as values for JSON."""
    return {**_head(table), "ranges": table.ranges}


def _head(table: CalibrationTable) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "graphs": dict(table.graphs),
        "frames": [{"name": name, "sha256": digest} for name, digest in table.frames],
    }


def table_json(table: CalibrationTable) -> str:
    """The table as JSON, with a line for each tensor and each way to store it."""
    values = _head(table)
    lines = [json.dumps(values, indent=2)[:-2] + ',\n  "ranges": {']
    for g, (graph, tensors) in enumerate(table.ranges.items()):
        lines.append(f"{',' if g else ''}\n    {json.dumps(graph)}: {{")
        rows = [f"      {json.dumps(tensor)}: {_row(kinds)}" for tensor, kinds in tensors.items()]
        lines.append("\n" + ",\n".join(rows) + "\n    }")
    return "".join(lines) + "\n  }\n}\n"


def _rounded(span: Range) -> Range:
    return Range(float(f"{span.low:.6g}"), float(f"{span.high:.6g}"))


def _row(kinds: Mapping[str, Mapping[str, Range]]) -> str:
    parts = [f'\n        "{kind}": {json.dumps(methods)}' for kind, methods in kinds.items()]
    return "{" + ",".join(parts) + "\n      }"


def write_table(path: Path, table: CalibrationTable) -> None:
    write_text(path, table_json(table))


@dataclass(frozen=True, slots=True)
class _Frame:
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Content:
    """The table as its file has it."""

    schema: int
    graphs: dict[str, str]
    frames: tuple[_Frame, ...]
    ranges: dict[str, dict[str, dict[str, dict[str, tuple[float, float]]]]]


def read_table(path: Path) -> CalibrationTable:
    """Raises :class:`DataError` for a file that is missing, no calibration table, or of another schema."""
    try:
        return table_from(read_json(path))
    except OSError as error:
        raise DataError(f"the calibration table {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(
            f"{path} is no calibration table, or was edited ({error}): make one with --data"
        ) from error


def table_from(values: Any, place: str = "") -> CalibrationTable:
    """Inverse of :func:`table_values`; ``place`` is the path of ``values`` in their file.

    Raises :class:`DecodingError` for anything else.
    """
    if isinstance(values, dict) and (schema := values.get("schema")) != SCHEMA:
        raise DecodingError(f"its schema is {schema}, and this dcc reads {SCHEMA}")
    content = decode(_Content, values, place)
    at = f"{place}.ranges" if place else "ranges"
    ranges = {
        graph: {
            tensor: {
                kind: {name: _range(methods, name, f"{at}.{graph}.{tensor}.{kind}") for name in METHODS}
                for kind, methods in kinds.items()
            }
            for tensor, kinds in tensors.items()
        }
        for graph, tensors in content.ranges.items()
    }
    return CalibrationTable(content.graphs, [(f.name, f.sha256) for f in content.frames], ranges)


def _range(methods: Mapping[str, tuple[float, float]], name: str, place: str) -> Range:
    if name not in methods:
        raise DecodingError(f"{place}.{name} is missing")
    low, high = methods[name]
    if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high):
        raise DecodingError(f"{place}.{name}: {low} to {high} is no range that contains zero")
    return Range(low, high)
