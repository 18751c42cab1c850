"""Pictures with their annotations as plain values for JSON, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from dccnet.runtime.annotations.model import Instance, Picture
from dccnet.runtime.annotations.run_lengths import RunLengths


def picture_values(picture: Picture) -> dict[str, Any]:
    """Plain values of one picture. Places that are not there are null."""
    values: dict[str, Any] = {"name": picture.name, "problem": picture.problem}
    values |= {"size": picture.size, "frame": picture.frame, "time_s": picture.time_s}
    values |= {"references": dict(picture.references)}
    values["instances"] = [_instance_values(one) for one in picture.instances]
    return values


def _instance_values(instance: Instance) -> dict[str, Any]:
    told = instance.confidence
    return {
        "category": instance.category,
        "points": [None if np.isnan(row).any() else row.tolist() for row in instance.points],
        "visibility": instance.visibility.tolist(),
        "box": None if instance.box is None else instance.box.tolist(),
        "mask": None if instance.mask is None else [instance.mask.size, instance.mask.counts],
        "confidence": None if told is None else [None if np.isnan(v) else float(v) for v in told],
        "score": instance.score,
        "label": instance.label,
    }


def picture_of(values: dict[str, Any]) -> Picture:
    """The picture that :func:`picture_values` was called with. Raises ``ValueError``, ``KeyError`` or
    ``TypeError`` for other values."""
    return Picture(
        str(values["name"]),
        None if values["size"] is None else (int(values["size"][0]), int(values["size"][1])),
        tuple(_instance_of(one) for one in values["instances"]),
        str(values["problem"]),
        {str(name): float(value) for name, value in values["references"].items()},
        values["frame"],
        values["time_s"],
    )


def _instance_of(values: dict[str, Any]) -> Instance:
    points = [[np.nan, np.nan] if row is None else row for row in values["points"]]
    told, mask = values["confidence"], values["mask"]
    return Instance(
        str(values["category"]),
        np.asarray(points, np.float64).reshape(-1, 2),
        np.asarray(values["visibility"], np.uint8),
        None if values["box"] is None else np.asarray(values["box"], np.float64).reshape(4),
        None if mask is None else RunLengths((int(mask[0][0]), int(mask[0][1])), tuple(map(int, mask[1]))),
        None if told is None else np.asarray([np.nan if v is None else v for v in told], np.float32),
        values["score"],
        int(values["label"]),
    )
