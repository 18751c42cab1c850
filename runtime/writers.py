"""Write correspondences to files: one small function for each format, by suffix (docs/formats.md)."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.errors import UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.parquet_file import write_parquet
from dccnet.runtime.point_matches import PointMatches

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences

SCHEMA = 1
FLO_MAGIC = 202021.25  # Middlebury's flow format
UNKNOWN_FLOW = 1e10
"""Middlebury's flow of a pixel without a match."""


def to_dict(result: Correspondences) -> dict[str, Any]:
    """Plain lists and numbers; coordinates in pixels, rounded to 3 decimals."""
    return {
        "schema": SCHEMA,
        "size_a": list(result.size_a),
        "size_b": list(result.size_b),
        "grid_a": list(result.index_a.shape),
        "grid_b": list(result.index_b.shape),
        "transfer": result.rule,
        "mirrored": result.mirrored,
        "a_to_b": match_lists(result.matches("a")),
        "b_to_a": match_lists(result.matches("b")),
    }


def match_lists(matches: PointMatches) -> dict[str, Any]:
    """``points_a``, ``points_b``, ``scores`` and, if there is any, ``confidence`` as lists."""
    lists = {
        "points_a": np.round(matches.points_a, 3).tolist(),
        "points_b": np.round(matches.points_b, 3).tolist(),
        "scores": [float(f"{score:.6g}") for score in matches.scores],
    }
    if matches.confidence is not None:
        lists["confidence"] = confidence_list(matches.confidence)
    return lists


def confidence_list(confidence: NDArray[np.float32]) -> list[float]:
    """Confidence to 4 decimals."""
    return [round(float(value), 4) for value in confidence]


def _write_json(result: Correspondences, path: Path) -> None:
    path.write_text(json.dumps(to_dict(result), allow_nan=False) + "\n", encoding="utf-8")


def _write_csv(result: Correspondences, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["direction", "x_a", "y_a", "x_b", "y_b", "score", "confidence"])
        for direction, matches in (("a_to_b", result.matches("a")), ("b_to_a", result.matches("b"))):
            confidence = [""] * len(matches)
            if matches.confidence is not None:
                confidence = [f"{value:.4f}" for value in matches.confidence]
            columns = matches.points_a, matches.points_b, matches.scores, confidence
            for a, b, score, sure in zip(*columns, strict=True):
                table.writerow([direction, *(f"{v:.3f}" for v in (*a, *b)), f"{score:.6g}", sure])


def _write_parquet(result: Correspondences, path: Path) -> None:
    a_to_b, b_to_a = result.matches("a"), result.matches("b")
    directions = np.repeat(["a_to_b", "b_to_a"], [len(a_to_b), len(b_to_a)])
    back = b_to_a.columns()
    both = {name: np.concatenate([values, back[name]]) for name, values in a_to_b.columns().items()}
    write_parquet({"direction": directions, **both}, path)


def _write_npz(result: Correspondences, path: Path) -> None:
    arrays: dict[str, Any] = {
        "schema": SCHEMA,
        "size_a": result.size_a,
        "size_b": result.size_b,
        "index_a": result.index_a,
        "score_a": result.score_a,
        "index_b": result.index_b,
        "score_b": result.score_b,
        "mirrored": result.mirrored,
    }
    names = ("window_a", "window_b", "heatmap_a", "heatmap_b", "confidence_a", "confidence_b")
    optional = {name: getattr(result, name) for name in names}
    if result.maps is not None:
        optional |= {field.name: getattr(result.maps, field.name) for field in fields(result.maps)}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    for direction in ("a", "b"):
        matches = result.matches(direction)
        arrays[f"points_a_from_{direction}"] = matches.points_a
        arrays[f"points_b_from_{direction}"] = matches.points_b
    with path.open("wb") as file:  # NumPy would append its own suffix to a path
        np.savez_compressed(file, **arrays)


def _write_flo(result: Correspondences, path: Path) -> None:
    flow = result.flow("a")
    confidence = result.confidence_map("a")
    if confidence is not None and result.least_confidence is not None:
        flow[confidence < result.least_confidence] = UNKNOWN_FLOW
    path.write_bytes(encode_flo(flow))


def encode_flo(flow: NDArray[np.float32]) -> bytes:
    """Middlebury ``.flo`` from ``(H, W, 2)`` float32: magic, width, height, then (u, v) row-major."""
    height, width, _ = flow.shape
    header = np.array([FLO_MAGIC], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    return header + flow.astype("<f4").tobytes()


WRITERS: dict[str, Callable[[Correspondences, Path], None]] = {
    ".json": _write_json,
    ".csv": _write_csv,
    ".npz": _write_npz,
    ".parquet": _write_parquet,
    ".flo": _write_flo,
}


def save_correspondences(result: Correspondences, path: str | os.PathLike[str]) -> None:
    """Write atomically in the format of the suffix.

    Raises :class:`UsageError` for an unknown suffix and :class:`DccError` where writing fails.
    """
    path = Path(path)
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise UsageError(f"cannot save matches as '{path.name}': use {', '.join(WRITERS)}")
    with atomic_path(path) as temporary:
        write(result, temporary)
