"""Names of ``dcc propagate`` mean the right files, and no file that is read is replaced."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest

from dccnet.runtime.annotations.coco import from_coco, to_coco
from dccnet.runtime.annotations.model import AnnotationSet, Picture
from dccnet.runtime.commands.propagate import propagate_command
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.features import Features
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.inputs import Drawn, read_inputs
from dccnet.runtime.propagate.outputs import write_frame
from dccnet.runtime.propagate.references import Reference
from dccnet.runtime.propagate.run import Job, changed_from, propagate
from dccnet.runtime.propagate.targets import find_targets
from dccnet.runtime.video.propagation.settings import Propagation
from tests.helpers.annotation_sets import BIRD, bird
from tests.helpers.commands import run_here


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 60, 3), value, np.uint8))
    return path


def annotated(path: Path, name: str) -> Path:
    """A COCO file of one picture with a box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20]}
    content = {
        "images": [{"id": 1, "file_name": name, "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [annotation],
    }
    path.write_text(json.dumps(content))
    return path


def test_a_picture_of_the_whole_name_comes_before_one_of_the_last_name(tmp_path: Path) -> None:
    coco = annotated(tmp_path / "coco.json", "a/x.png")
    right, other = picture(tmp_path / "a/x.png"), picture(tmp_path / "photos/x.png")
    (found,) = read_inputs([str(coco)], str(tmp_path / "photos"), Drawn(), [], []).references
    assert found.path == right
    (asked,) = read_inputs([str(coco)], str(tmp_path), Drawn(), [other.parent], []).references
    assert asked.path == other  # where the user says that they are


def test_names_are_relative_to_the_folder_of_the_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    annotated(tmp_path / "labels/coco.json", "photos/x.png")
    picture(tmp_path / "photos/x.png"), picture(tmp_path / "photos/y.png")
    for folder in ("photos", str(tmp_path / "photos")):
        for coco in ("labels/coco.json", str(tmp_path / "labels/coco.json")):
            roots = read_inputs([coco], folder, Drawn(), [], []).roots
            assert find_targets(folder, roots).names() == ["photos/x.png", "photos/y.png"]


@pytest.mark.parametrize("folder", ["photos", "photos/masks", ".", "labels"])
def test_masks_never_replace_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [picture(tmp_path / "photos/sub/x.png", 9), picture(tmp_path / "labels/x.png", 255)]
    before = [path.read_bytes() for path in paths]
    arguments = ["photos/sub/x.png", "photos", "--mask", "labels/x.png", "-o", "all.json"]
    with pytest.raises(UsageError, match="write the masks"):
        run_here(propagate_command, *arguments, "--save-masks", folder)
    assert [path.read_bytes() for path in paths] == before


def test_the_sheet_does_not_replace_the_annotations(tmp_path: Path) -> None:
    both = str(tmp_path / "all.json")
    with pytest.raises(UsageError, match="name another sheet"):
        run_here(propagate_command, "a.json", "b", "-o", both, "--review", both)


def test_a_name_that_no_file_of_annotations_can_hold_is_told_first(tmp_path: Path) -> None:
    picture(tmp_path / "x.png").rename(tmp_path / os.fsdecode(b"\xff.png"))
    with pytest.raises(DccError, match="is not UTF-8: rename it"):
        find_targets(str(tmp_path), ())


def test_a_run_continues_only_with_the_same_reference_picture(tmp_path: Path) -> None:
    coco, path = annotated(tmp_path / "coco.json", "x.png"), picture(tmp_path / "x.png", 1)

    def identity() -> dict[str, object]:
        inputs = read_inputs([str(coco)], str(tmp_path), Drawn(), [], [])
        targets = find_targets(str(tmp_path), inputs.roots)
        return Job(inputs.references, inputs.categories, targets, "semantic", Propagation(), 5).identity(
            "m"
        )

    before = identity()
    assert identity() == before
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    assert identity() != before


def test_two_files_that_annotate_one_picture_are_refused(tmp_path: Path) -> None:
    path = picture(tmp_path / "photos" / "x.png")
    first, second = (
        annotated(tmp_path / "a.json", "photos/x.png"),
        annotated(path.parent / "b.json", "x.png"),
    )
    with pytest.raises(UsageError, match=r"x\.png is annotated in .*a\.json and in .*b\.json: remove it"):
        read_inputs([str(first), str(second)], str(path.parent), Drawn(), [], [])
    picture(path.parent / "y.png")
    other = annotated(path.parent / "c.json", "y.png")
    found = read_inputs([str(first), str(other)], str(path.parent), Drawn(), [], []).references
    assert [one.name for one in found] == ["photos/x.png", "y.png"]


def test_corrections_are_those_of_a_person(tmp_path: Path) -> None:
    plain = (Picture("x.png", (40, 60), (bird(box=False, mask=False),)),)
    written = to_coco(AnnotationSet((BIRD,), plain), {})
    content = json.loads(written)
    before = from_coco(content, tmp_path)
    del content["annotations"][0]["box_annotated"]  # as other tools do
    assert changed_from(from_coco(content, tmp_path), before).pictures == ()
    content["images"][0]["file_name"] = "upload/x.png"
    with pytest.raises(UsageError, match=r"the first is upload/x\.png in the edited one and x\.png in"):
        changed_from(from_coco(content, tmp_path), before)


def test_a_frame_of_another_video_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    frame = np.full((8, 8, 3), 50, np.uint8)
    path = write_frame(tmp_path, 0, frame)
    assert write_frame(tmp_path, 0, frame) == path  # an interrupted run continues
    with pytest.raises(UsageError, match="is not frame 0 of this video: choose another folder"):
        write_frame(tmp_path, 0, frame + 1)


def test_references_on_a_gpu_are_told_to_be_the_first_ones(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{name}.png") for name in "ab"]
    references = [Reference(Picture(path.name, (40, 60), (bird(mask=False),)), path) for path in paths]
    on_gpu = Features({"local": object()}, (40, 60))  # type: ignore[dict-item]
    matcher = SimpleNamespace(encode=lambda image: on_gpu)
    job = Job(references, (BIRD,), find_targets(str(tmp_path), ()), "semantic", Propagation(), 1)
    notes: list[str] = []
    list(propagate(job, cast(Matcher, matcher), on_note=notes.append))  # both pictures are references
    assert len(notes) == 1 and "the first 1 of 2 references vote" in notes[0]
    list(propagate(replace(job, most=2), cast(Matcher, matcher), on_note=notes.append))
    assert len(notes) == 1
