"""Building the page from its markup, style, scripts, pictures, matches and scores."""

from __future__ import annotations

import base64
import dataclasses
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

from dccnet.runtime.arrays import Array, Floats, Image
from dccnet.runtime.checks import Side
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import extent
from dccnet.runtime.standard_streams import visible
from dccnet.runtime.viewer.quantise import quantise

LIMIT_BYTES = 3_000_000
"""Largest size of a page; scores are stored with fewer levels rather than exceed it."""
LEVELS = (255, 63, 15)
"""Highest step of the quantised scores, in the order in which they are tried."""
PICTURE_SIDE = 1024
"""Longest side of the pictures in a page, in pixels; coordinates refer to the originals."""
JPEG_QUALITY = 82
SCRIPTS = ("scores.js", "colours.js", "shared.js", "paint.js", "page.js")
SIDES: tuple[Side, Side] = ("a", "b")
PLACES = 65535
"""Steps that places in a picture are rounded to, along each axis: far below a pixel."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page and a summary of its content."""

    html: str
    maps: tuple[str, ...]
    """Score maps that it can show, among ``fused``, ``local``, ``context``; empty for best matches only."""
    attention: bool
    """Whether it can show the attention of both pictures."""
    levels: int
    """Highest step of each cell's quantised scores."""
    largest_error: float
    """Largest quantisation error of all scores, as a probability; scores of best matches are exact."""
    rule: str
    """How points are placed: ``cells``, ``subcell`` or ``refined``, as by ``Correspondences.transfer``."""
    confidence: bool
    """Whether it shows the confidence of matches."""


def build_page(
    result: Correspondences, image_a: Image, image_b: Image, names: tuple[str, str], network: str
) -> Page:
    """The page for two pictures ``(H, W, 3)`` uint8 BGR and their correspondences.

    ``names`` are the titles of the pictures, ``network`` is a line that describes the network.
    """
    for levels in LEVELS:
        page = _render(result, (image_a, image_b), names, network, levels)
        if len(page.html.encode()) <= LIMIT_BYTES:
            break
    return page


def _render(
    result: Correspondences, images: tuple[Image, Image], names: tuple[str, str], network: str, levels: int
) -> Page:
    maps, largest_error = _score_maps(_by_map(result), levels)
    shown = tuple(name for name, sides in maps.items() if "steps" in sides["a"])
    attention, confidence = _attention(result), _confidence(result)
    data = {
        "pictures": {
            side: _encode_picture(image, name)
            for side, image, name in zip(SIDES, images, names, strict=True)
        },
        "grid": {"a": result.index_a.shape, "b": result.index_b.shape},
        "maps": maps,
        "attention": attention,
        "confidence": confidence,
        "confidence_meaning": None if result.confidence_model is None else result.confidence_model.meaning,
        "levels": levels,
        "largest_error": largest_error,
        "network": network,
    }
    text = _assemble(data, f"{names[0]} and {names[1]}")
    return Page(
        text, shown, attention is not None, levels, largest_error, result.rule, confidence is not None
    )


def _by_map(result: Correspondences) -> dict[str, Correspondences]:
    """The matches, and those of each branch if its scores were all that there is."""
    found = {"fused": result}
    if result.maps is not None:
        for branch in ("local", "context"):
            a, b = (getattr(result.maps, f"heatmap_{branch}_{side}") for side in SIDES)
            (index_a, score_a), (index_b, score_b) = _best(a), _best(b)
            found[branch] = dataclasses.replace(
                result,
                index_a=index_a,
                score_a=score_a,
                index_b=index_b,
                score_b=score_b,
                heatmap_a=a,
                heatmap_b=b,
                window_a=None,
                window_b=None,
            )
    return found


def _best(heatmap: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """``(h, w, h', w')`` -> ``(h, w)`` each: the best match of each cell, and its score."""
    scores = heatmap.reshape(*heatmap.shape[:2], -1)
    return scores.argmax(axis=2), scores.max(axis=2)


def _score_maps(by_map: dict[str, Correspondences], levels: int) -> tuple[dict[str, Any], float]:
    """Best match of every cell, places of matches and, if known, all scores, for each map and side; and the
    largest error of scores."""
    maps: dict[str, dict[str, dict[str, Any]]] = {}
    largest_error = 0.0
    for name, result in by_map.items():
        maps[name] = {}
        for side in SIDES:
            index, score, heatmap = (
                getattr(result, f"{kind}_{side}") for kind in ("index", "score", "heatmap")
            )
            places = _places(result, side)
            entry = maps[name][side] = {
                "index": _encode_array(index, "<u4"),
                "score": _encode_array(score, "<f4"),
                "lattice": places.shape[:2],
                "places": _encode_array(places, "<u2"),
            }
            if heatmap is not None:
                quantised = quantise(heatmap.reshape(index.size, -1), levels)
                largest_error = max(largest_error, quantised.largest_error)
                entry["steps"] = _encode_array(quantised.steps, "u1")
                entry["lowest"] = _encode_array(quantised.lowest, "<f4")
    return maps, largest_error


def _places(result: Correspondences, side: Side) -> Floats:
    """``(h, w, 2)``: the lattice of matches of ``side``, as steps (x, y) along the other picture."""
    way = result.one_way(side)
    shares = np.clip(way.lattice(result.rule) / extent(way.other_size), 0, 1)
    return np.rint(shares * PLACES)


def _confidence(result: Correspondences) -> dict[str, str] | None:
    """Log-odds of each cell's match, for each side."""
    odds = {side: result.log_odds(side) for side in SIDES}
    if odds["a"] is None or odds["b"] is None:
        return None
    return {side: _encode_array(array, "<f4") for side, array in odds.items() if array is not None}


def _attention(result: Correspondences) -> dict[str, str] | None:
    """Weight of the local branch for each side, 0 to 255; the context branch has the remainder."""
    if result.maps is None or result.maps.attention_a is None or result.maps.attention_b is None:
        return None
    weights = {"a": result.maps.attention_a, "b": result.maps.attention_b}
    return {side: _encode_array(np.rint(weight[0] * 255), "u1") for side, weight in weights.items()}


def _encode_picture(image: Image, name: str) -> dict[str, Any]:
    height, width = image.shape[:2]
    scale = min(PICTURE_SIDE / max(height, width), 1)
    small = image
    if scale < 1:
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
    return {"name": name, "width": width, "height": height, "source": source}


def _encode_array(array: Array, dtype: str) -> str:
    return base64.b64encode(zlib.compress(array.astype(dtype).tobytes(), 9)).decode()


def _assemble(data: dict[str, Any], title: str) -> str:
    folder = files("dccnet.runtime.viewer")
    style, *scripts = (folder.joinpath(n).read_text(encoding="utf-8") for n in ("page.css", *SCRIPTS))
    script = "\n".join(scripts)
    parts = {
        "title": html.escape(visible(title)),
        "style": style,
        # No other script can run and nothing can be fetched, not even by a picture's name that is markup.
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "script": script,
        "data": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    }
    pieces = folder.joinpath("page.html").read_text(encoding="utf-8").split("%%")
    pieces[1::2] = (parts[name] for name in pieces[1::2])
    return "".join(pieces)
