"""Writing Label Studio's JSON (:mod:`dccnet.runtime.annotations.label_studio` says how it is used)."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

import numpy as np

from dccnet.runtime.annotations.brush import encode_brush
from dccnet.runtime.annotations.label_studio import LOCAL
from dccnet.runtime.annotations.model import AnnotationSet, Picture

_POINT_WIDTH = 0.5  # percent, of a point as it is drawn


def to_label_studio(annotations: AnnotationSet, version: str) -> str:
    """A list of tasks. What a person annotated is an annotation, what was carried a prediction with its
    score; points of too little confidence are left out."""
    hints = annotations.hints
    tasks = []
    for picture in annotations.pictures:
        if picture.problem or picture.size is None:
            continue
        address = hints.get("prefix", LOCAL) + quote(picture.name)
        task: dict[str, Any] = {"data": {hints.get("data", "image"): address}}
        carried = any(one.score is not None for one in picture.instances)
        result: dict[str, Any] = {"result": results_of(picture, annotations)}
        if carried:
            result |= {"model_version": version, "score": round(float(picture.confidence or 0), 4)}
        task["predictions" if carried else "annotations"] = [result] if picture.instances else []
        tasks.append(task)
    return json.dumps(tasks, ensure_ascii=False, allow_nan=False)


def results_of(picture: Picture, annotations: AnnotationSet) -> list[dict[str, Any]]:
    """The results of one picture, whose size is known."""
    assert picture.size is not None
    height, width = picture.size
    found: list[dict[str, Any]] = []
    for at, instance in enumerate(picture.instances, start=1):
        category = annotations.category(instance.category)
        box_id = f"{picture_id(picture.name)}-{at}-box" if instance.box is not None else None

        def add(
            kind: str,
            label: str,
            value: dict[str, Any],
            ending: str,
            score: float | None = None,
            *,
            n: int = at,
        ) -> None:
            name = annotations.hints.get(f"from_name:{kind}") or kind.removesuffix("labels")
            result: dict[str, Any] = {
                "id": f"{picture_id(picture.name)}-{n}-{ending}",
                "type": kind,
                "from_name": name,
                "to_name": annotations.hints.get("to_name", "image"),
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {**value, kind: [label]},
                "meta": {"text": [f"{instance.category} #{n}"]},  # noqa: B023 (called in this turn)
            }
            if kind == "keypointlabels" and box_id is not None:  # noqa: B023
                result["parentID"] = box_id  # noqa: B023
            if score is not None and np.isfinite(score):
                result["score"] = round(float(score), 4)
            found.append(result)

        if instance.box is not None:
            x, y, w, h = (instance.box / [width, height, width, height] * 100).tolist()
            value = {"x": x, "y": y, "width": w, "height": h, "rotation": 0}
            add("rectanglelabels", category.name, value, "box", instance.score)
        if instance.mask is not None:
            value = {"format": "rle", "rle": encode_brush(instance.mask.array())}
            add("brushlabels", category.name, value, "mask", instance.score)
        for row in np.flatnonzero(instance.annotated).tolist():
            x, y = (instance.points[row] / [width, height] * 100).tolist()
            told = None if instance.confidence is None else float(instance.confidence[row])
            value = {"x": x, "y": y, "width": _POINT_WIDTH}
            add("keypointlabels", category.points[row], value, f"point-{row + 1}", told)
    return found


def picture_id(name: str) -> str:
    """A short text that stands for a picture in the ids of its results."""
    return hashlib.sha256(name.encode()).hexdigest()[:10]
