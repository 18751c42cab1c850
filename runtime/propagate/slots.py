"""Carry the annotations of references to one picture, each picture by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.model import SEEN, Instance, Picture, there
from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size
from dccnet.runtime.propagate.consensus import agreed
from dccnet.runtime.video.propagation.boxes import carry_boxes
from dccnet.runtime.video.propagation.maps import SingleMatches, clipped
from dccnet.runtime.video.propagation.masks import carry_mask
from dccnet.runtime.video.propagation.settings import Propagation

NEAR = 0.05
"""Votes of references fade with a Gaussian of this standard deviation, a share of the picture's longer
side: half of the distance within which a point counts as right."""
SPECK = 0.01
"""Pieces and holes of a carried mask that are a smaller share of it are errors of single cells."""
WITHIN = 0.1
"""The same for the confidence in what they agree on: that distance."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Points that one match puts in the picture."""

    points: Points
    """``(K, 2)``, NaN where the reference lacks the point."""
    confidence: NDArray[np.float32]  # (K,)


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A reference, A, its match with the picture, B, and what it carries there."""

    name: str
    annotations: Picture
    result: Correspondences
    placed: tuple[Placed, ...]
    """One for each instance of the reference."""
    rating: float
    """Mean confidence of the points; for boxes and masks alone, of all matches of B."""


def matched(name: str, annotations: Picture, result: Correspondences, settings: Propagation) -> Match:
    """Carry the points of a reference by its match with a picture."""
    placed = tuple(_placed(instance, result, settings) for instance in annotations.instances)
    values = [one.confidence[there(one.points)] for one in placed]
    if any(len(value) for value in values):
        rating = float(np.concatenate(values).mean())
    else:
        everywhere = result.confidence_b
        rating = float(result.score_b.mean() if everywhere is None else everywhere.mean())
    return Match(name, annotations, result, placed, rating)


def _placed(instance: Instance, result: Correspondences, settings: Propagation) -> Placed:
    """From a bundle without confidence, that of a point is 1 where it returns to itself, else 0."""
    counted = instance.annotated
    places = np.full((len(counted), 2), np.nan)
    confidence = np.zeros(len(counted), np.float32)
    if counted.any():
        points = clipped(instance.points[counted], result.size_a)
        told = result.transfer_confidence(points, "a")
        if told is None:
            found = SingleMatches(result).carry(points, settings)
            places[counted], confidence[counted] = found.points_b, found.visible
        else:
            places[counted], confidence[counted] = result.transfer(points, "a"), told
    return Placed(places, confidence)


def combined(matches: Sequence[Match], settings: Propagation) -> tuple[Instance, ...]:
    """The instances of the best reference, each of whose points all references with it have voted on.

    The first instance of a category in one reference is the first one in the others. Boxes and masks are
    those that the best reference carries.
    """
    best = max(matches, key=lambda match: match.rating)
    size = best.result.size_b
    maps = SingleMatches(best.result)
    instances = []
    turns: dict[str, int] = {}
    for instance in best.annotations.instances:
        turn = turns[instance.category] = turns.get(instance.category, -1) + 1
        placed = []
        for match in matches:
            pairs = zip(match.annotations.instances, match.placed, strict=True)
            same = [there for one, there in pairs if one.category == instance.category]
            if turn < len(same):
                placed.append(same[turn])
        agreement = agreed(
            np.stack([one.points for one in placed]),
            np.stack([one.confidence for one in placed]).astype(np.float64),
            NEAR * max(size),
            WITHIN * max(size),
        )
        box = mask = score = None
        if instance.box is not None:
            carried = carry_boxes(instance.box[None], maps, settings)
            box, score = inside_picture(carried.boxes_b[0], size), float(carried.scores[0])
        if instance.mask is not None:
            mask, score = _carried_mask(instance.mask, maps, settings)
            if instance.box is not None and _is_extent(instance.box, instance.mask) and mask.area:
                box = mask.box()
        instances.append(
            finished(
                instance,
                agreement.points,
                agreement.confidence,
                settings.min_confidence,
                box=box,
                mask=mask,
                score=score,
            )
        )
    return tuple(instances)


def finished(
    instance: Instance,
    points: Points,
    confidence: NDArray[np.float32],
    least: float,
    *,
    box: Floats | None,
    mask: RunLengths | None,
    score: float | None,
) -> Instance:
    """The instance in its picture: points count from the confidence ``least`` on.

    Its score is the mean confidence of its points; without points, that of its mask or its box.
    """
    placed = there(points)
    visibility = np.where(placed & (confidence >= least), SEEN, 0).astype(np.uint8)
    if placed.any():
        score = float(confidence[placed].mean())
    told = np.where(placed, confidence, np.nan).astype(np.float32)
    return Instance(
        instance.category,
        points,
        visibility,
        box,
        mask,
        told if len(told) else None,
        0.0 if score is None else score,
        instance.label,
    )


def _carried_mask(mask: RunLengths, maps: SingleMatches, settings: Propagation) -> tuple[RunLengths, float]:
    """The mask in the picture, and the mean confidence of its pixels."""
    carried = carry_mask(mask.array().astype(np.uint8), maps, settings)
    shown = without_specks(carried.mask > 0)
    return RunLengths.of(shown), float(carried.confidence[shown].mean()) if shown.any() else 0.0


def without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``(H, W)`` without pieces, and without holes, of less than :data:`SPECK` of its pixels."""
    least = SPECK * mask.sum()
    for value in (True, False):
        count, pieces, facts, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8))
        small = np.flatnonzero(facts[:, cv2.CC_STAT_AREA] < least)
        if count > 2:  # more than the background and one piece
            mask = np.where(np.isin(pieces, small[small > 0]), not value, mask)
    return mask


def _is_extent(box: Floats, mask: RunLengths) -> bool:
    """Whether a box was drawn around a mask: by 0.9 of the area that they cover together."""
    around = mask.box()
    low = np.maximum(box[:2], around[:2])
    high = np.minimum(box[:2] + box[2:], around[:2] + around[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    return bool(shared >= 0.9 * (np.prod(box[2:]) + np.prod(around[2:]) - shared))


def inside_picture(box: Floats, size: Size) -> Floats:
    """The part of a box ``(4,)`` in a picture of (height, width) ``size``; at least one pixel."""
    limits = np.array([size[1], size[0]], np.float64)
    low = np.clip(box[:2], 0, limits - 1)
    high = np.clip(box[:2] + box[2:], low + 1, limits)
    return np.concatenate([low, high - low])
