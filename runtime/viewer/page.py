"""The page's parts put together: markup, style, script, pictures and scores."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.images import Image
from dccnet.runtime.viewer.quantise import quantise

LIMIT_BYTES = 3_000_000
"""Of a page; scores are drawn in fewer steps rather than exceed it."""
LEVELS = (255, 63, 15)
PICTURE_SIDE = 1024
"""Longest side in pixels of the pictures in a page; coordinates stay those of the originals."""
JPEG_QUALITY = 82
SCRIPTS = ("scores.js", "colours.js", "paint.js", "page.js")
SIDES = ("a", "b")


@dataclass(frozen=True, slots=True)
class Page:
    """A page and what is in it."""

    html: str
    maps: tuple[str, ...]
    """Score maps that it can show: of ``fused``, ``local`` and ``context``; none from a plain bundle."""
    attention: bool
    levels: int
    """Steps that each cell's scores are drawn in."""
    largest_error: float
    """Of all scores drawn, as a probability; the scores of best matches are exact."""


def build_page(
    result: Correspondences, image_a: Image, image_b: Image, names: tuple[str, str], network: str
) -> Page:
    """The page of two pictures ``(H, W, 3)`` uint8 BGR, with their correspondences and names for people."""
    for levels in LEVELS:
        page = _page(result, (image_a, image_b), names, network, levels)
        if len(page.html.encode()) <= LIMIT_BYTES:
            break
    return page


def _page(
    result: Correspondences, images: tuple[Image, Image], names: tuple[str, str], network: str, levels: int
) -> Page:
    maps, largest_error = _maps(result, levels)
    shown = tuple(name for name, sides in maps.items() if "steps" in sides["a"])
    attention = _attention(result)
    data = {
        "pictures": {
            side: _picture(image, name) for side, image, name in zip(SIDES, images, names, strict=True)
        },
        "grid": {"a": result.index_a.shape, "b": result.index_b.shape},
        "maps": maps,
        "attention": attention,
        "levels": levels,
        "largest_error": largest_error,
        "network": network,
    }
    text = _assemble(data, f"{names[0]} and {names[1]}")
    return Page(text, shown, attention is not None, levels, largest_error)


def _maps(result: Correspondences, levels: int) -> tuple[dict[str, Any], float]:
    """For each map and side: ``index`` and ``score`` of the best match of every cell, and all scores."""
    heatmaps = {("fused", side): getattr(result, f"heatmap_{side}") for side in SIDES}
    if result.maps is not None:
        for branch in ("local", "context"):
            for side in SIDES:
                heatmaps[branch, side] = getattr(result.maps, f"heatmap_{branch}_{side}")
    best = {"a": (result.index_a, result.score_a), "b": (result.index_b, result.score_b)}
    maps: dict[str, dict[str, dict[str, str]]] = {}
    largest_error = 0.0
    for (name, side), heatmap in heatmaps.items():
        entry = maps.setdefault(name, {}).setdefault(side, {})
        index, score = best[side]
        if heatmap is not None:
            scores = heatmap.reshape(index.size, -1)
            steps = quantise(scores, levels)
            largest_error = max(largest_error, steps.largest_error)
            entry["steps"], entry["lowest"] = _packed(steps.steps, "u1"), _packed(steps.lowest, "<f4")
            if name != "fused":
                index, score = scores.argmax(axis=1), steps.highest
        entry["index"], entry["score"] = _packed(index, "<u4"), _packed(score, "<f4")
    return maps, largest_error


def _attention(result: Correspondences) -> dict[str, str] | None:
    """For each side the trust in the local branch, 0 to 255; the rest goes to context."""
    if result.maps is None or result.maps.attention_a is None or result.maps.attention_b is None:
        return None
    weights = {"a": result.maps.attention_a, "b": result.maps.attention_b}
    return {side: _packed(np.rint(weight[0] * 255), "u1") for side, weight in weights.items()}


def _picture(image: Image, name: str) -> dict[str, Any]:
    height, width = image.shape[:2]
    scale = min(PICTURE_SIDE / max(height, width), 1)
    small = image
    if scale < 1:
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
    return {"name": name, "width": width, "height": height, "source": source}


def _packed(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(zlib.compress(array.astype(dtype).tobytes(), 9)).decode()


def _assemble(data: dict[str, Any], title: str) -> str:
    folder = files("dccnet.runtime.viewer")
    style, *scripts = (folder.joinpath(n).read_text(encoding="utf-8") for n in ("page.css", *SCRIPTS))
    script = "\n".join(scripts)
    parts = {
        "title": html.escape(title),
        "style": style,
        # Nothing else may run, nothing may be fetched: not even by a name made to look like markup.
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "script": script,
        "data": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    }
    pieces = folder.joinpath("page.html").read_text(encoding="utf-8").split("%%")
    pieces[1::2] = (parts[name] for name in pieces[1::2])
    return "".join(pieces)
