"""Text files with one line or several for each frame."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from dccnet.runtime.video.outputs.records import frame_record, reported_matches
from dccnet.runtime.video.outputs.sink import OutputFrame

CSV_COLUMNS = (
    "frame", "time_s", "reference", "label", "x_a", "y_a", "x_b", "y_b", "score", "distance", "visible",
    "confidence",
)  # fmt: skip


class LineFile:
    """A text file that always ends with a complete line; nothing is buffered."""

    reserve = 0

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._complete_bytes = 0

    def append(self, text: str) -> None:
        """Write one or more lines. Raises ``OSError``, after removing the part that was written."""
        rest = memoryview(text.encode())
        try:
            while rest:  # on an almost full disk, only a part is written
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(self._complete_bytes)
            raise
        self._complete_bytes = self._file.tell()

    def close(self) -> None:
        self._file.close()


class JsonLines(LineFile):
    """``.jsonl``: an object for each frame."""

    def write(self, frame: OutputFrame) -> None:
        self.append(json.dumps(frame_record(frame.result), allow_nan=False) + "\n")


class CsvLines(LineFile):
    """``.csv``: a row for each point or match of each frame."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.append(",".join(CSV_COLUMNS) + "\n")

    def write(self, frame: OutputFrame) -> None:
        result = frame.result
        matches = reported_matches(result)
        points = None if result.carried is None else result.carried.points
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        for i in range(len(matches)):
            table.writerow(
                [
                    result.index,
                    result.time_s,
                    result.reference.name,
                    points.labels[i] if points is not None and points.labels else "",
                    *(f"{v:.3f}" for v in (*matches.points_a[i], *matches.points_b[i])),
                    f"{matches.scores[i]:.6g}",
                    "" if points is None else f"{points.distances[i]:.3f}",
                    "" if points is None else int(points.visible[i]),
                    "" if matches.confidence is None else f"{matches.confidence[i]:.4f}",
                ]
            )
        self.append(text.getvalue())
