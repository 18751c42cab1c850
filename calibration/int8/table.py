"""The calibration table: ranges by tensor, readable, and good for the graphs that it was made of alone."""

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
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import write_text

SCHEMA = 1
_LEVELS = {"signed": SIGNED, "unsigned": UNSIGNED}


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """Ranges of tensors by every method, so that one table serves them all."""

    graphs: Mapping[str, str]
    """SHA-256 of each graph that it was made of."""
    frames: Sequence[tuple[str, str]]
    """Name and SHA-256 of each frame that was seen."""
    ranges: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Range]]]]
    """By graph, tensor, ``signed`` or ``unsigned``, and method."""

    def range(self, layer: Layer, tensor: str, method: str, *, symmetric: bool) -> Range:
        """Raises :class:`DataError` where the table was made without the layer."""
        try:
            return self.ranges[layer.graph][tensor]["signed" if symmetric else "unsigned"][method]
        except KeyError:
            raise DataError(
                f"the calibration table knows nothing of {layer.name}: make one with the same --include"
            ) from None

    def of(self, tensors: Collection[tuple[str, str]]) -> CalibrationTable:
        """Of these (graph, tensor) alone."""
        ranges = {
            graph: {tensor: kinds for tensor, kinds in known.items() if (graph, tensor) in tensors}
            for graph, known in self.ranges.items()
        }
        return CalibrationTable(self.graphs, self.frames, ranges)

    def check(self, bundle: Bundle, name: str) -> None:
        """Raises :class:`DataError` where it was not made of this bundle's graphs."""
        for graph, digest in self.graphs.items():
            found = bundle.manifest.graphs.get(graph)
            if found is None or found.sha256 != digest:
                raise DataError(
                    f"{name} is the table of another network: the {graph} of {bundle.path} is not the one "
                    "that it was made of; calibrate with --data"
                )


def make_table(bundle: Bundle, frames: Sequence[Frame], histograms: Histograms) -> CalibrationTable:
    """Every method's range of every tensor, to the digits that its file will have."""
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
    """As JSON has it."""
    return {**_head(table), "ranges": table.ranges}


def _head(table: CalibrationTable) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "graphs": dict(table.graphs),
        "frames": [{"name": name, "sha256": digest} for name, digest in table.frames],
    }


def table_json(table: CalibrationTable) -> str:
    """A line for each tensor and way to store it."""
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


def read_table(path: Path) -> CalibrationTable:
    """Raises :class:`DataError` for what is missing, no table, or of another schema."""
    try:
        return table_from(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"the calibration table {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no calibration table, or was edited ({error}): make one with --data"
        ) from error


def table_from(values: dict[str, Any]) -> CalibrationTable:
    """Inverse of :func:`table_values`. Raises :class:`ValueError`, :class:`KeyError`, :class:`TypeError` or
    :class:`AttributeError` for anything else."""
    if values["schema"] != SCHEMA:
        raise ValueError(f"its schema is {values['schema']}, and this dcc reads {SCHEMA}")
    ranges = {
        str(graph): {
            str(tensor): {
                kind: {name: _range(methods[name]) for name in METHODS} for kind, methods in kinds.items()
            }
            for tensor, kinds in tensors.items()
        }
        for graph, tensors in values["ranges"].items()
    }
    frames = [(str(frame["name"]), str(frame["sha256"])) for frame in values["frames"]]
    return CalibrationTable({str(k): str(v) for k, v in values["graphs"].items()}, frames, ranges)


def _range(sides: list[float]) -> Range:
    low, high = map(float, sides)
    if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high):
        raise ValueError(f"{low} to {high} is no range that holds zero")
    return Range(low, high)
