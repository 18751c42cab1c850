"""What people and their tools write in files of annotations is read as they mean it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dccnet.runtime.annotations.cvat import from_cvat
from dccnet.runtime.annotations.fields import AnnotationError
from dccnet.runtime.annotations.files import read_annotations
from dccnet.runtime.annotations.label_studio import from_label_studio
from dccnet.runtime.annotations.label_studio_writing import to_label_studio
from dccnet.runtime.annotations.model import AnnotationSet, Picture
from dccnet.runtime.annotations.table import from_csv
from tests.helpers.annotation_sets import BIRD, SIZE, bird

MASK = '<mask label="{}" rle="0, 4" left="1" top="1" width="2" height="2"/>'
BOX = '<box label="{}" xtl="1" ytl="2" xbr="4" ybr="6"/>'
SKELETON = '<skeleton label="bird"><points label="eye" outside="{}" points="1,1"/></skeleton>'


def cvat(*shapes: str) -> AnnotationSet:
    content = "".join(shapes)
    text = f'<annotations><image name="a.png" width="10" height="8">{content}</image></annotations>'
    return from_cvat(text, Path())


def key_point(at: float) -> dict[str, Any]:
    value = {"x": at, "y": at, "keypointlabels": ["eye"]}
    return {"type": "keypointlabels", "original_width": 10, "original_height": 10, "value": value}


def task(**more: Any) -> dict[str, Any]:
    return {"data": {"image": "/data/local-files/?d=a.jpg"}} | more


def test_a_mask_without_a_group_joins_a_skeleton_without_visible_points() -> None:
    (picture,) = cvat(SKELETON.format(1), MASK.format("bird mask")).pictures
    (instance,) = picture.instances
    assert instance.category == "bird" and instance.mask is not None and instance.mask.area == 4


@pytest.mark.parametrize("shape", [BOX.format("toy box"), MASK.format("gas mask")])
def test_labels_of_cvat_that_end_like_dccs_keep_their_names(shape: str) -> None:
    (category,) = cvat(shape).categories
    assert category.name in ("toy box", "gas mask")
    names = [one.name for one in cvat(SKELETON.format(0), BOX.format("bird box"), shape).categories]
    assert names == ["bird", category.name]


def test_two_points_of_one_name_in_one_thing_are_refused() -> None:
    one = '<points label="eye" points="{0},{0}"{1}/>'
    with pytest.raises(AnnotationError, match="has two points eye"):
        cvat(one.format(1, ""), one.format(5, ""))
    apart = cvat(one.format(1, ' group_id="1"'), one.format(5, ' group_id="2"'))
    assert [len(picture.instances) for picture in apart.pictures] == [2]
    with pytest.raises(AnnotationError, match="has a second point eye"):
        from_csv("image,label,x,y\na.jpg,eye,1,1\na.jpg,eye,5,5\n", Path())
    with pytest.raises(AnnotationError, match="two points eye belong to one thing"):
        from_label_studio([task(annotations=[{"result": [key_point(10), key_point(50)]}])], Path())


def test_an_empty_annotation_overrules_a_prediction_in_label_studio() -> None:
    tasks = [task(annotations=[{"result": []}], predictions=[{"result": [key_point(10)]}])]
    assert not any(picture.annotated for picture in from_label_studio(tasks, Path()).pictures)
    tasks[0]["annotations"][0]["was_cancelled"] = True
    assert any(picture.annotated for picture in from_label_studio(tasks, Path()).pictures)


@pytest.mark.parametrize("name", ["a/b c.jpg", "a+b.jpg", "a&b.jpg", "a #1?.jpg", "100%41.jpg", "ä.jpg"])
def test_names_of_pictures_return_from_addresses_of_label_studio(name: str) -> None:
    written = to_label_studio(AnnotationSet((BIRD,), (Picture(name, SIZE, (bird(),)),)), "dcc 1")
    (picture,) = from_label_studio(json.loads(written), Path()).pictures
    assert picture.name == name


def test_what_a_person_corrected_in_sleap_replaces_the_prediction(tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    skeleton = sleap_io.Skeleton(["eye", "tail"], name="bird")
    video = sleap_io.Video(filename="clip.mp4", open_backend=False)
    kept, carried = (
        sleap_io.PredictedInstance.from_numpy(
            np.full((2, 2), value), skeleton=skeleton, point_scores=np.ones(2), score=0.5
        )
        for value in (1.0, 5.0)
    )
    edited = sleap_io.Instance.from_numpy(np.full((2, 2), 9.0), skeleton=skeleton)
    edited.from_predicted = carried
    frame = sleap_io.LabeledFrame(video=video, frame_idx=0, instances=[kept, carried, edited])
    labels = sleap_io.Labels(labeled_frames=[frame], videos=[video], skeletons=[skeleton])
    sleap_io.save_slp(labels, str(tmp_path / "a.slp"), embed=False, verbose=False)
    (picture,) = read_annotations(tmp_path / "a.slp").pictures
    assert [one.points[0, 0] for one in picture.instances] == [9.0, 1.0]
    assert [one.score for one in picture.instances] == [None, 0.5]
