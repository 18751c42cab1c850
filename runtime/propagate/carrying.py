"""From an image to its annotations: each picture by itself, or a video's frames one after the other."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np

from dccnet.runtime import geometry
from dccnet.runtime.annotations.model import Instance, Picture, there
from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.references import EncodedReferences
from dccnet.runtime.propagate.slots import Match, combined, finished, matched
from dccnet.runtime.propagate.targets import Target
from dccnet.runtime.video.propagation.following import Follower
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
        features = self._matcher.encode(image, mirrored=False)
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
    """Frames of one video, which show the same thing: points follow the picture, and return to their
    matches where both part (:mod:`dccnet.runtime.video.propagation.following`)."""

    mode = TEMPORAL

    def __init__(self, semantic: Semantic, settings: Propagation, cells: geometry.Size) -> None:
        """``cells`` is the network's grid (height, width)."""
        self._semantic, self._settings, self._cells = semantic, settings, cells
        self._follower = Follower()
        self._confidence: Floats = np.zeros(0)

    def carry(self, target: Target, image: Image) -> tuple[Picture, State | None]:
        matches = self._semantic.matches(image)
        found = combined(matches, self._settings)
        places, confidence = _stacked(found)
        known = there(places)
        visible = np.asarray(known & (confidence >= self._settings.min_confidence), np.bool_)
        step = self._follower.step(
            np.where(known[:, None], places, 0.0), visible, image, self._cells, _shape(found)
        )
        if step.kept.any():  # while it is followed, a point keeps the confidence that it had
            confidence = np.where(step.kept, np.maximum(confidence, self._confidence), confidence)
        self._confidence = confidence
        points = np.where((known | step.kept)[:, None], step.points, np.nan)
        kept, at = [], 0
        for instance in found:
            rows = slice(at, at + len(instance.points))
            at += len(instance.points)
            again = finished(
                instance,
                points[rows],
                confidence[rows].astype(np.float32),
                self._settings.min_confidence,
                box=instance.box,
                mask=instance.mask,
                score=instance.score,
            )
            kept.append(again)
        state = {"points": step.points.tolist(), "confidence": confidence.tolist()}
        return picture_from(target, image, matches, tuple(kept)), state

    def keep(self, target: Target, image: Image | None, known: Picture, state: State | None) -> None:
        """Raises ``ValueError`` or ``KeyError`` for a state that is none."""
        if image is None:
            return
        places, confidence = _stacked(known.instances)
        if state is None:  # what a person annotated
            confidence = np.concatenate([np.zeros(0), *(one.annotated for one in known.instances)])
        else:
            places = np.asarray(state["points"], np.float64).reshape(places.shape)
            confidence = np.asarray(state["confidence"], np.float64).reshape(confidence.shape)
        visible = np.asarray(confidence >= self._settings.min_confidence, np.bool_) & there(places)
        self._confidence = confidence
        self._follower.start(np.nan_to_num(places), visible, image, _shape(known.instances))


def _shape(instances: tuple[Instance, ...]) -> list[tuple[str, int]]:
    return [(one.category, len(one.points)) for one in instances]


def _stacked(instances: tuple[Instance, ...]) -> tuple[Points, Floats]:
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
