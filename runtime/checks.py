"""One check for each kind of argument: it returns the value in the form that the code works with.

Nothing is reshaped or guessed, because a list of ``(x, y, score)`` that is taken for other points gives
results that look right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from dccnet.runtime.arrays import Boxes, Floats, Mask, Points
from dccnet.runtime.errors import ArgumentError
from dccnet.runtime.geometry import Size

Side = Literal["a", "b"]
Rule = Literal["refined", "subcell", "cells"]
"""How points move. ``cells``: by blending the best cells, as the benchmarks do (spec §2). ``subcell``: to
places between cells, by the scores around the best matches (:mod:`dccnet.runtime.score_windows`).
``refined``: from there to the most similar place nearby (:mod:`dccnet.runtime.refinement`)."""

MARGIN = 1.0
"""Pixels by which a point may lie outside its picture: some tools count from 1, or to the outer edge."""


def as_side(side: object, name: str = "from_") -> Side:
    """``side`` if it is ``"a"`` or ``"b"``. Raises :class:`ArgumentError`."""
    if side == "a":
        return "a"
    if side == "b":
        return "b"
    raise ArgumentError(f"{name} must be 'a' or 'b', the picture, got {side!r}")


def as_rule(rule: object) -> Rule | None:
    """``rule`` if it is one, or None for the usual one. Raises :class:`ArgumentError`."""
    if rule is None:
        return None
    for known in get_args(Rule):
        if rule == known:
            return known  # type: ignore[no-any-return]
    raise ArgumentError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}")


def as_points(values: ArrayLike, name: str = "points") -> Points:
    """Points ``(N, 2)`` (x, y), float64 and finite; no values are no points.

    Raises :class:`ArgumentError` for another shape, such as that of points with a score.
    """
    return _rows(values, 2, name, "x, y")


def as_one_or_more(values: ArrayLike, name: str = "points") -> tuple[Points, bool]:
    """As :func:`as_points`, or one point ``(x, y)``: ``(N, 2)``, and whether it was one. Raises as that."""
    try:
        one = np.shape(values) == (2,)
    except ValueError:  # rows of different lengths
        one = False
    return as_points(np.asarray(values)[np.newaxis] if one else values, name), one


def as_boxes(values: ArrayLike) -> Boxes:
    """Boxes ``(M, 4)`` (x, y, width, height), float64 and finite. Raises :class:`ArgumentError`."""
    return _rows(values, 4, "boxes", "x, y, width, height")


def as_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as a tuple. Raises :class:`ArgumentError` for one text, whose letters would be labels."""
    if isinstance(labels, (str, bytes)):
        raise ArgumentError(f"labels must be a list of texts, one for each point, got {labels!r}")
    return tuple(map(str, labels))


def as_mask(values: ArrayLike) -> Mask:
    """A mask ``(H, W)`` of labels or ``(H, W, 3)`` of colours, uint8, from whole numbers or truth values.

    True is 1. Raises :class:`ArgumentError` for another shape and for values that uint8 cannot hold.
    """
    mask = np.asarray(values)
    if not (mask.ndim == 2 or (mask.ndim == 3 and mask.shape[2] == 3)) or 0 in mask.shape:
        raise ArgumentError(f"a mask must have shape (H, W) or (H, W, 3), got {mask.shape}")
    if mask.dtype == np.uint8:
        return mask
    if mask.dtype.kind not in "biuf":
        raise ArgumentError(f"a mask must contain numbers, got {mask.dtype}")
    whole = _whole(mask)
    if whole is None:
        raise ArgumentError(
            "a mask contains labels from 0 to 255, or True and False; this one has other values "
            f"({mask.dtype}, up to {mask.max():g}): choose a threshold, such as mask > 0.5"
        )
    return whole


def check_inside(points: Points, size: Size, name: str, margin: float = 0.0) -> None:
    """Raises :class:`ArgumentError` for a point more than ``margin`` pixels outside a picture of
    (height, width) ``size``."""
    high = np.array([size[1], size[0]]) - 1 + margin
    outside = ~((points >= -margin) & (points <= high)).all(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise ArgumentError(f"the point {x:g},{y:g} lies outside the {size[1]}x{size[0]} picture {name}")


def check_boxes_inside(boxes: Boxes, size: Size, name: str) -> None:
    """Raises :class:`ArgumentError` for a box that has no size or is not completely inside the picture."""
    height, width = size
    for x, y, w, h in boxes:
        if not (x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height):
            box = f"{x:g},{y:g},{w:g},{h:g} (x, y, width, height)"
            raise ArgumentError(f"the box {box} lies outside the {width}x{height} picture {name}")


def _rows(values: ArrayLike, width: int, name: str, columns: str) -> Floats:
    try:
        given = np.asarray(values)
        if given.dtype.kind == "b":
            raise TypeError
        rows = given.astype(np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be numbers, {width} ({columns}) in each row") from None
    if rows.shape == (0,):
        return np.empty((0, width))
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ArgumentError(f"{name} must have {width} columns ({columns}), got the shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise ArgumentError(f"{name} contains values that are not finite: {_first_not_finite(rows)}")
    return rows


def _first_not_finite(rows: Floats) -> str:
    number = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
    return f"{rows[number].tolist()} in row {number}"


def _whole(mask: np.ndarray[Any, Any]) -> Mask | None:
    """The same values as uint8; None where one of them is not a whole number from 0 to 255."""
    with np.errstate(invalid="ignore"):
        whole = mask.astype(np.uint8)
    return whole if np.array_equal(whole, mask) else None
