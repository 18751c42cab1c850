"""A frame's result as plain values for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from dccnet.runtime.arrays import Floats
from dccnet.runtime.point_matches import PointMatches
from dccnet.runtime.video.stream import FrameResult
from dccnet.runtime.writers import SCHEMA, match_lists


def reported_matches(result: FrameResult) -> PointMatches:
    """The matches of a frame in its outputs: the carried points, or otherwise the mutual matches."""
    points = None if result.carried is None else result.carried.points
    if points is None:
        return result.correspondences.mutual()
    return PointMatches(points.points_a, points.points_b, points.scores, points.confidence)


def frame_record(result: FrameResult) -> dict[str, Any]:
    """Plain lists and numbers; pixels to 3 decimals. docs/formats.md describes the layout."""
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "frame": result.index,
        "time_s": result.time_s,
        "size": list(result.correspondences.size_b),
        "reference": result.reference.name,
    }
    carried = result.carried
    if carried is None or carried.points is not None or carried.boxes is None:
        record |= match_lists(reported_matches(result))
    if carried is not None and carried.points is not None:
        if carried.points.labels:
            record["labels"] = list(carried.points.labels)
        record["distances"] = _rounded(carried.points.distances)
        record["visible"] = carried.points.visible.tolist()
    if carried is not None and carried.boxes is not None:
        boxes = carried.boxes
        record["boxes"] = {
            "boxes_a": _rounded(boxes.boxes_a),
            "boxes_b": _rounded(boxes.boxes_b),
            "scores": _rounded(boxes.scores),
            "visible": boxes.visible.tolist(),
        }
    return record


def _rounded(values: Floats) -> list[Any]:
    numbers: list[Any] = np.round(values, 3).tolist()
    return numbers
