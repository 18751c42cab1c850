"""dcc in CVAT's automatic annotation: the SDK's own driver accepts what it returns."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cvat_sdk")
import cvat_sdk.auto_annotation as cvat
import PIL.Image
from cvat_sdk import masks, models
from cvat_sdk.auto_annotation import driver

from dccnet.integrations.cvat import Detector, Tracker, create
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.annotator import Annotator
from tests.helpers.shifted_views import CELL, POINTS, view

SHIFT = (8, 4)


def pil(image: Image) -> PIL.Image.Image:
    return PIL.Image.fromarray(image[..., ::-1])


@pytest.fixture(scope="module")
def detector(annotator: Annotator) -> Detector:
    return Detector(annotator)


class Label(SimpleNamespace):
    """A label of a task, as the server returns it: the ids are its own."""


def task_labels(spec: cvat.DetectionFunctionSpec, polygons: bool) -> list[Label]:
    labels = []
    for label in spec.labels:
        subs = [
            Label(name=sub.name, id=1000 + sub.id, attributes=[]) for sub in getattr(label, "sublabels", [])
        ]
        kind = "polygon" if polygons and str(label.type) == "mask" else str(label.type)
        labels.append(Label(name=label.name, id=100 + label.id, type=kind, sublabels=subs, attributes=[]))
    return labels


def annotate(
    detector: Detector, image: Image, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> models.PatchedLabeledDataRequest:
    """What CVAT's driver uploads for a task with one picture."""
    media = SimpleNamespace(load_image=lambda: pil(image))
    sample = SimpleNamespace(frame_name="a.jpg", frame_index=7, media=media)
    dataset = SimpleNamespace(
        labels=task_labels(detector.spec, options.get("conv_mask_to_poly", False)), samples=[sample]
    )
    monkeypatch.setattr(driver, "TaskDataset", lambda client, task, load_annotations: dataset)
    sent: list[Any] = []

    def upload(action: str, task: int, *, patched_labeled_data_request: Any) -> None:
        sent.append(patched_labeled_data_request)

    api = SimpleNamespace(partial_update_annotations=upload)
    client: Any = SimpleNamespace(logger=logging.getLogger("cvat"), tasks=SimpleNamespace(api=api))
    cvat.annotate_task(client, 1, detector, **options)
    return sent[0]


def test_the_driver_takes_skeletons_boxes_and_masks(
    detector: Detector, photos: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    skeleton, box, mask = annotate(detector, view(photos[0], *SHIFT), monkeypatch).shapes
    assert [shape.frame for shape in (skeleton, box, mask)] == [7] * 3
    assert (skeleton.label_id, box.label_id, mask.label_id) == (100, 101, 102)
    assert [element.label_id for element in skeleton.elements] == [1000, 1001, 1002]
    for element, (x, y) in zip(skeleton.elements, POINTS.values(), strict=True):
        if not element.outside:
            assert np.linalg.norm(np.array(element.points) - (x - SHIFT[0], y - SHIFT[1])) < CELL
    assert sum(not element.outside for element in skeleton.elements) >= 2
    np.testing.assert_allclose(box.points, [32, 26, 112, 86], atol=2 * CELL)
    decoded = masks.decode_mask(mask.points, image_width=160, image_height=128)
    truth = np.zeros((128, 160), bool)
    truth[26:86, 32:112] = True
    assert (decoded & truth).sum() / (decoded | truth).sum() > 0.7


def test_masks_become_polygons_and_confidence_filters(
    detector: Detector, photos: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = view(photos[0], *SHIFT)
    shapes = annotate(detector, image, monkeypatch, conv_mask_to_poly=True).shapes
    assert [str(shape.type) for shape in shapes] == ["skeleton", "rectangle", "polygon"]
    assert annotate(detector, image, monkeypatch, conf_threshold=1.0).shapes == []


class Shape(cvat.TrackingFunctionShapeContext):
    original_shape_type = "any"


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("points", [60.0, 60.0, 100.0, 80.0]),
        ("polygon", [60.0, 50.0, 100.0, 60.0, 80.0, 90.0]),
        ("rectangle", [40.0, 30.0, 120.0, 90.0]),
        ("mask", masks.encode_mask(np.pad(np.ones((60, 80), bool), ((30, 38), (40, 40))))),
    ],
)
def test_shapes_are_tracked(matcher: Matcher, photos: list[Image], kind: str, points: list[float]) -> None:
    tracker, context = Tracker(matcher), Shape()
    assert kind in tracker.spec.supported_shape_types
    frames = [
        tracker.preprocess_image(context, pil(view(photos[0], *shift))) for shift in ((0, 0), (4, 2), SHIFT)
    ]
    state = tracker.init_tracking_state(context, frames[0], cvat.TrackableShape(type=kind, points=points))
    for frame in frames[1:]:
        found = tracker.track(context, frame, state)
        assert found is not None and found.type == kind
    if kind == "mask":
        truth, mask = (
            masks.decode_mask(values, image_width=160, image_height=128)
            for values in (points, found.points)
        )
        assert abs(int(mask.sum()) / int(truth.sum()) - 1) < 0.25
    else:
        moved = np.array(points).reshape(-1, 2) - SHIFT
        atol = 2 * CELL if kind == "rectangle" else 1.5
        np.testing.assert_allclose(np.array(found.points).reshape(-1, 2), moved, atol=atol)


def test_a_lost_shape_is_none(matcher: Matcher, photos: list[Image]) -> None:
    tracker, context = Tracker(matcher, min_confidence=1.0), Shape()
    frames = [tracker.preprocess_image(context, pil(image)) for image in (view(photos[0], 0, 0), photos[1])]
    state = tracker.init_tracking_state(
        context, frames[0], cvat.TrackableShape(type="rectangle", points=[4, 4, 30, 30])
    )
    points = tracker.init_tracking_state(
        context, frames[0], cvat.TrackableShape(type="points", points=[4, 4])
    )
    results = [tracker.track(context, frames[1], one) for one in (state, points)]
    assert None in results


def test_cvats_command_line_makes_both(annotated: Path) -> None:
    assert isinstance(create(kind="tracking"), Tracker)
    made = create(references=str(annotated))
    assert isinstance(made, Detector)
    assert [label.name for label in made.spec.labels] == ["cat", "cat box", "cat mask"]
    with pytest.raises(DccError, match="detection or tracking"):
        create(kind="other")
