"""dcc in CVAT's automatic annotation, by the interface of its SDK (``cvat_sdk.auto_annotation``).

    cvat-cli task auto-annotate TASK --function-module dccnet.integrations.cvat -p references=str:a.json
    cvat-cli function create-native dcc --function-module dccnet.integrations.cvat -p kind=str:tracking

A :class:`Detector` carries the annotations of reference pictures to each picture of a task; a
:class:`Tracker` follows a shape that a person drew on one frame through the next ones. Both need the extra
``cvat``, and Python 3.11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.model import Category, Instance
from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.arrays import Image, Points
from dccnet.runtime.errors import UsageError
from dccnet.runtime.extras import required
from dccnet.runtime.features import Features
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.annotator import Annotator
from dccnet.runtime.propagate.slots import inside_picture
from dccnet.runtime.video.propagation.boxes import carry_boxes
from dccnet.runtime.video.propagation.following import Follower
from dccnet.runtime.video.propagation.maps import SingleMatches, clipped
from dccnet.runtime.video.propagation.masks import carry_mask
from dccnet.runtime.video.propagation.settings import Propagation

with required("dcc in CVAT", "cvat"):
    from cvat_sdk import auto_annotation as cvat
    from cvat_sdk import masks as cvat_masks

_BOX, _MASK = 1, 2
"""Added to a category's number for the labels of its box and its mask."""
_POINTS = ("points", "polygon", "polyline")
_VISIBLE_SHARE = 0.5
_SHAPES = (*_POINTS, "rectangle", "mask")


def create(
    references: str = "",
    kind: str = "detection",
    model: str = "",
    pictures: str = "",
    min_confidence: float | None = None,
) -> Detector | Tracker:
    """What ``cvat-cli --function-module`` calls with its parameters (``-p NAME=TYPE:VALUE``).

    ``references`` are files of annotations, and ``pictures`` folders, each separated by ``;``; ``kind`` is
    ``detection`` or ``tracking``, which needs no references; ``model`` a bundle, else the built-in one.
    Raises :class:`DccError`.
    """
    matcher = Matcher.open(model or None)
    if kind == "tracking":
        return Tracker(matcher, min_confidence=min_confidence)
    if kind != "detection":
        raise UsageError(f"kind is detection or tracking, not '{kind}'")
    files = [name for name in references.split(";") if name]
    folders = [name for name in pictures.split(";") if name]
    return Detector(Annotator(matcher, files, pictures=folders, min_confidence=min_confidence))


def image_of(picture: Any) -> Image:
    """A PIL picture as ``(H, W, 3)`` uint8 BGR."""
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"), np.uint8)[..., ::-1])


class Detector:
    """A ``DetectionFunction`` of CVAT's SDK: one skeleton, box and mask for each instance.

    The box and the mask of a category NAME with points have the labels "NAME box" and "NAME mask", because
    a label of CVAT has one type of shape.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._numbers = {one.name: 4 * at for at, one in enumerate(annotator.categories)}
        instances = [one for picture in annotator.references for one in picture.instances]
        labels: list[Any] = []
        for category in annotator.categories:
            own = [one for one in instances if one.category == category.name]
            labels += self._labels(category, own)
        self._spec = cvat.DetectionFunctionSpec(labels=labels)

    @property
    def spec(self) -> cvat.DetectionFunctionSpec:
        """The labels that a task needs."""
        return self._spec

    def _labels(self, category: Category, instances: Sequence[Instance]) -> list[Any]:
        number, found = self._numbers[category.name], []
        if category.points:
            points = [cvat.keypoint_spec(name, at) for at, name in enumerate(category.points)]
            found.append(cvat.skeleton_label_spec(category.name, number, points))
        boxed = any(one.box is not None for one in instances)
        if boxed:
            name = f"{category.name} box" if category.points else category.name
            found.append(cvat.label_spec(name, number + _BOX, type="rectangle"))
        if any(one.mask is not None for one in instances):
            name = f"{category.name} mask" if category.points or boxed else category.name
            found.append(cvat.label_spec(name, number + _MASK, type="mask"))
        return found

    def detect(self, context: cvat.DetectionFunctionContext, image: Any) -> list[Any]:
        """Shapes for one picture; points below the confidence that is asked for are ``outside``."""
        found = self._annotator.annotate(image_of(image), context.frame_name)
        asked = context.conf_threshold
        least = self._annotator.settings.min_confidence if asked is None else asked
        shapes: list[Any] = []
        for instance in found.instances:
            number = self._numbers[instance.category]
            if asked is not None and (instance.score or 0.0) < asked:
                continue
            if len(instance.points):
                shapes.append(cvat.skeleton(number, _elements(instance, least)))
            if instance.box is not None:
                x, y, width, height = instance.box.tolist()
                shapes.append(cvat.rectangle(number + _BOX, [x, y, x + width, y + height]))
            if instance.mask is not None and instance.mask.area:
                shapes.append(_mask_shape(number + _MASK, instance.mask, context.conv_mask_to_poly))
        return shapes


def _elements(instance: Instance, least: float) -> list[Any]:
    """All points of a skeleton, as CVAT wants them."""
    told = instance.confidence
    elements = []
    for row, (x, y) in enumerate(instance.points.tolist()):
        there = bool(instance.placed[row])
        sure = there and (told is None or float(told[row]) >= least)
        place = [x, y] if there else [0.0, 0.0]
        elements.append(cvat.keypoint(row, place, outside=not sure))
    return elements


def _mask_shape(label: int, mask: RunLengths, as_polygon: bool) -> Any:
    if not as_polygon:
        return cvat.mask(label, cvat_masks.encode_mask(mask.array()))
    contours, _ = cv2.findContours(
        mask.array().astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    largest = max(contours, key=cv2.contourArea)[:, 0].astype(float)
    corners = largest if len(largest) >= 3 else np.repeat(largest, 3, axis=0)[:3]
    return cvat.polygon(label, corners.ravel().tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame of a task, made ready for :class:`Tracker`."""

    image: Image
    features: Features


@dataclass(slots=True, eq=False)
class TrackingState:
    """A shape on the frame where a person drew it, and what follows it from there."""

    kind: str
    points: Points  # (K, 2)
    mask: NDArray[np.uint8] | None
    start: Frame
    follower: Follower


class Tracker:
    """A ``TrackingFunction`` of CVAT's SDK: points and outlines follow the picture, and return to their
    matches with the frame where they were drawn (:mod:`dccnet.runtime.video.propagation.following`); boxes
    and masks are carried by these matches."""

    def __init__(self, matcher: Matcher, *, min_confidence: float | None = None) -> None:
        """A shape is lost where less than half of its points, or of its box, are visible: by
        ``min_confidence``, or while they can be followed. A mask is lost by its mean confidence."""
        self._matcher = matcher
        self._settings = Propagation.of_confidence(min_confidence)
        self._spec = cvat.TrackingFunctionSpec(supported_shape_types=_SHAPES)

    @property
    def spec(self) -> cvat.TrackingFunctionSpec:
        """The shapes that can be tracked: points, polygons, polylines, rectangles and masks."""
        return self._spec

    def preprocess_image(self, context: cvat.TrackingFunctionContext, image: Any) -> Frame:
        """Encodes a frame, once for all shapes."""
        pixels = image_of(image)
        return Frame(pixels, self._matcher.encode(pixels))

    def init_tracking_state(
        self, context: cvat.TrackingFunctionShapeContext, pp_image: Frame, shape: cvat.TrackableShape
    ) -> TrackingState:
        """The state of a shape on the frame where it was drawn."""
        height, width = pp_image.features.size
        mask, points = None, np.empty((0, 2))
        if shape.type == "mask":
            decoded = cvat_masks.decode_mask(shape.points, image_width=width, image_height=height)
            mask = decoded.astype(np.uint8)
        else:
            points = np.asarray(shape.points, np.float64).reshape(-1, 2)
        follower = Follower()
        follower.start(points, np.ones(len(points), np.bool_), pp_image.image, "shape")
        return TrackingState(shape.type, points, mask, pp_image, follower)

    def track(
        self, context: cvat.TrackingFunctionShapeContext, pp_image: Frame, state: TrackingState
    ) -> cvat.TrackableShape | None:
        """The shape on another frame; None where it is lost."""
        result = self._matcher.match(state.start.features, pp_image.features)
        maps = SingleMatches(result)
        size, least = pp_image.features.size, self._settings.min_confidence
        if state.mask is not None:
            carried = carry_mask(state.mask, maps, self._settings)
            shown = carried.mask > 0
            if not shown.any() or carried.confidence[shown].mean() < least:
                return None
            return cvat.TrackableShape(type="mask", points=cvat_masks.encode_mask(shown))
        if state.kind == "rectangle":
            first, last = state.points
            box = np.concatenate([first, last - first])
            boxes = carry_boxes(box[None], maps, self._settings)
            if not boxes.visible[0]:
                return None
            x, y, width, height = inside_picture(boxes.boxes_b[0], size).tolist()
            return cvat.TrackableShape(type="rectangle", points=[x, y, x + width, y + height])
        carried_points = maps.carry(clipped(state.points, state.start.features.size), self._settings)
        grid = self._matcher.manifest.grid
        step = state.follower.step(
            carried_points.points_b, carried_points.visible, pp_image.image, grid, "shape"
        )
        if step.visible.mean() < _VISIBLE_SHARE:
            return None
        corners = clipped(step.points, size).ravel().tolist()
        return cvat.TrackableShape(type=state.kind, points=corners)
