"""From an image to its annotations: each picture by itself, or a video's frames one after the other."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np

from dccnet.runtime import geometry
from dccnet.runtime.annotations.model import Instance, Picture
from dccnet.runtime.arrays import Image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.references import EncodedReferences
from dccnet.runtime.propagate.slots import Match, combined, finished, matched
from dccnet.runtime.propagate.targets import Target
from dccnet.runtime.propagate.tracking import Tracks, corrected, followed, grey, started
from dccnet.runtime.video.propagation.settings import Propagation

SEMANTIC, TEMPORAL = "semantic", "temporal"
State = dict[str, Any]
"""Plain values from which the next frame can be carried."""


class Carrying(Protocol):
    """A way of carrying annotations to one picture after the other."""

    mode: str

    def carry(self, target: Target, image: Image) -> tuple[Picture, State | None]:
        """The picture's annotations, and the state after it."""
        ...

    def keep(self, target: Target, image: Image | None, known: Picture, state: State | None) -> None:
        """Go on after a picture whose annotations are ``known``."""
        ...


class Semantic:
    """Each picture by itself: other things of the kind, anywhere."""

    mode = SEMANTIC

    def __init__(self, matcher: Matcher, references: EncodedReferences, settings: Propagation) -> None:
        self._matcher, self._references, self._settings = matcher, references, settings

    def matches(self, image: Image) -> list[Match]:
        """The picture's matches with the nearest references, the most confident first."""
        features = self._matcher.encode(image)
        found = []
        for number in self._references.nearest(features):
            reference = self._references.references[number]
            result = self._matcher.match(self._references.features(number), features)
            found.append(matched(reference.name, reference.picture, result, self._settings))
        return sorted(found, key=lambda match: -match.rating)

    def carry(self, target: Target, image: Image) -> tuple[Picture, State | None]:
        matches = self.matches(image)
        return picture_from(target, image, matches, combined(matches, self._settings)), None

    def keep(self, target: Target, image: Image | None, known: Picture, state: State | None) -> None:
        """Nothing depends on another picture."""


class Temporal:
    """Frames of one video, which show the same thing: points follow motion, corrected by matches."""

    mode = TEMPORAL

    def __init__(self, semantic: Semantic, settings: Propagation, cells: geometry.Size) -> None:
        """``cells`` is the network's grid (height, width)."""
        self._semantic, self._settings, self._cells = semantic, settings, cells
        self._tracks: Tracks | None = None
        self._shape: list[tuple[str, int]] = []
        self._before: Any = None

    def carry(self, target: Target, image: Image) -> tuple[Picture, State | None]:
        matches = self._semantic.matches(image)
        found = combined(matches, self._settings)
        cell, now = self._cell(image), grey(image)
        shape = _shape(found)
        places, confidence = _stacked(found)
        tracks = self._tracks
        if tracks is None or shape != self._shape:  # nothing was placed before, or other instances
            nowhere = np.full_like(places, np.nan)
            tracks = Tracks(nowhere, np.zeros(len(places)), np.zeros(len(places)))
        else:
            tracks = followed(tracks, self._before, now, cell)
        tracks = corrected(tracks, places, confidence, cell)
        self._tracks, self._shape, self._before = tracks, shape, now
        height, width = image.shape[:2]
        inside = ((tracks.points >= 0) & (tracks.points <= [width - 1, height - 1])).all(axis=1)
        belief = np.where(inside, tracks.confidence, 0.0).astype(np.float32)
        kept, at = [], 0
        for instance in found:
            rows = slice(at, at + len(instance.points))
            at += len(instance.points)
            kept.append(
                finished(
                    instance,
                    tracks.points[rows],
                    belief[rows],
                    self._settings.min_confidence,
                    box=instance.box,
                    mask=instance.mask,
                    score=instance.score,
                )
            )
        return picture_from(target, image, matches, tuple(kept)), tracks.to_dict()

    def keep(self, target: Target, image: Image | None, known: Picture, state: State | None) -> None:
        if image is None:
            return
        places, _ = _stacked(known.instances)
        self._tracks = started(places, self._cell(image)) if state is None else Tracks.of_dict(state)
        self._shape, self._before = _shape(known.instances), grey(image)

    def _cell(self, image: Image) -> float:
        """Pixels of a cell, on the mean of both axes."""
        return float(geometry.pixels_per_cell((image.shape[0], image.shape[1]), self._cells).mean())


def _shape(instances: tuple[Instance, ...]) -> list[tuple[str, int]]:
    return [(one.category, len(one.points)) for one in instances]


def _stacked(instances: tuple[Instance, ...]) -> tuple[Any, Any]:
    """All points ``(K, 2)`` of the instances, and their confidence ``(K,)``."""
    if not instances:
        return np.zeros((0, 2)), np.zeros(0)
    told = [np.zeros(len(one.points)) if one.confidence is None else one.confidence for one in instances]
    places = np.concatenate([one.points for one in instances])
    return places, np.nan_to_num(np.concatenate(told).astype(np.float64))


def picture_from(
    target: Target, image: Image, matches: list[Match], instances: tuple[Instance, ...]
) -> Picture:
    return Picture(
        target.name,
        (image.shape[0], image.shape[1]),
        instances,
        references={match.name: match.rating for match in matches},
        frame=target.frame,
        time_s=target.time_s,
    )


def annotated_by_hand(target: Target, image: Image, reference: Picture) -> Picture:
    """A target that is a reference itself keeps what a person annotated in it."""
    return dataclasses.replace(
        reference,
        name=target.name,
        size=(image.shape[0], image.shape[1]),
        references={},
        frame=target.frame,
        time_s=target.time_s,
    )
