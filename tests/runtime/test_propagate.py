"""Annotations of a few pictures arrive in many, with their names, and a run can be interrupted."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.runtime.annotations.files import read_annotations
from dccnet.runtime.arrays import Image
from dccnet.runtime.commands.propagate import propagate_command
from dccnet.runtime.errors import DccError, ImageError, UsageError
from dccnet.runtime.journal import JOURNAL
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.consensus import agreed
from dccnet.runtime.propagate.records import picture_of, picture_values
from dccnet.runtime.propagate.slots import without_specks
from dccnet.runtime.video.mask_files import read_mask
from tests.helpers.annotation_sets import birds
from tests.helpers.commands import Cli, one_sentence, run_here
from tests.helpers.shifted_views import CELL, POINTS, view

Call = Callable[..., dict[str, Any]]
SHIFTS = {"a/x.png": (0, 0), "b/x.png": (12, 8), "x2.png": (4, 16), "x10.png": (20, 0)}


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return Matcher.open(threads=1)


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path, matcher: Matcher
) -> Call:
    """The command in this process, in a folder with pictures; returns its summary. The built-in model is
    opened once for all calls."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(Matcher, "open", lambda *_, **__: contextlib.nullcontext(matcher))

    def run(*arguments: object) -> dict[str, Any]:
        capsys.readouterr()
        run_here(propagate_command, *map(str, arguments), "--json")
        summary: dict[str, Any] = json.loads(capsys.readouterr().out)
        return summary

    return run


@pytest.fixture
def place(photos: list[Image], tmp_path: Path) -> Path:
    """Views of one photograph, shifted by known pixels; a reference in COCO; a picture that is none."""
    for name, (x, y) in SHIFTS.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), view(photos[0], x, y))
    (tmp_path / "coco.json").write_text(json.dumps(coco("photos/a/x.png", POINTS)))
    return tmp_path


def coco(name: str, points: dict[str, tuple[float, float]], **more: Any) -> dict[str, Any]:
    keypoints = [value for x, y in points.values() for value in (x, y, 2)]
    category = {"id": 5, "name": "cat", "supercategory": "animal", "keypoints": list(points)}
    return {
        "images": [{"id": 3, "file_name": name, "width": 160, "height": 128}],
        "categories": [category | {"skeleton": [[1, 2], [2, 3]]}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 5, "keypoints": keypoints} | more],
    }


def test_points_arrive_in_every_picture_with_names_labels_and_skeleton(call: Call, place: Path) -> None:
    summary = call("coco.json", "photos", "-o", "all.json", "--review", "sheet.html")
    assert summary["mode"] == "semantic" and summary["pictures"] == 4 and summary["skipped"] == []
    assert not (place / "all.json.progress").exists()
    content = json.loads((place / "all.json").read_text())
    (category,) = content["categories"]
    assert category["keypoints"] == list(POINTS) and category["skeleton"] == [[1, 2], [2, 3]]
    assert (category["name"], category["supercategory"]) == ("cat", "animal")
    names = [image["file_name"] for image in content["images"]]
    assert names == ["photos/a/x.png", "photos/b/x.png", "photos/x2.png", "photos/x10.png"]
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        x, y = SHIFTS[image["file_name"].removeprefix("photos/")]
        found = np.array(annotation["keypoints"]).reshape(-1, 3)
        assert (found[:, 2] > 0).sum() >= 2
        truth = np.array(list(POINTS.values())) - (x, y)
        seen = found[:, 2] > 0
        assert np.linalg.norm(found[seen, :2] - truth[seen], axis=1).max() < CELL
    kept, carried = content["annotations"][:2]
    assert "score" not in kept and 0 < carried["score"] <= 1 and len(carried["keypoint_confidence"]) == 3
    sheet = (place / "sheet.html").read_text()
    assert sheet.count("<figure") == 4 and sheet.index("open photos/x10.png") < sheet.index(
        "open photos/a/x.png"
    )  # by hand: last
    assert 'href="photos/b/x.png"' in sheet and "http" not in sheet


def test_names_cannot_change_the_page(call: Call, place: Path) -> None:
    (place / "photos" / "x2.png").rename(place / "photos" / "<b onload=x>\u202e.png")
    call("coco.json", "photos", "-o", "all.json", "--review", "sheet.html")
    sheet = (place / "sheet.html").read_text()
    assert "<b onload" not in sheet and "\u202e" not in sheet and "&lt;b onload=x&gt;\\u202e.png" in sheet
    assert 'href="photos/%3Cb%20onload%3Dx%3E%E2%80%AE.png"' in sheet


def test_least_confidence_makes_points_invisible(call: Call, place: Path) -> None:
    summary = call("coco.json", "photos/x2.png", "-o", "all.json", "--min-confidence", "1")
    (annotation,) = json.loads((place / "all.json").read_text())["annotations"]
    assert annotation["keypoints"] == [0, 0, 0] * 3 and annotation["num_keypoints"] == 0
    assert summary["points"] == 3 and summary["confident_points"] == 0
    call("coco.json", "photos/x2.png", "-o", "all.csv", "--min-confidence", "1")
    rows = list(csv.DictReader((place / "all.csv").open()))
    assert [row["visible"] for row in rows] == ["0"] * 3 and all(float(row["x"]) > 0 for row in rows)


def test_a_bad_picture_is_told_and_the_others_are_done(
    call: Call, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "photos" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="1 of 5 pictures could not be read"):
        call("coco.json", "photos", "-o", "all.csv", "--review", "sheet.html")
    rows = list(csv.DictReader((place / "all.csv").open()))
    assert {row["image"] for row in rows} == {f"photos/{name}" for name in (*SHIFTS, "broken.png")}
    assert "not a picture" in next(row["problem"] for row in rows if "broken" in row["image"])
    assert "1 could not be read" in (place / "sheet.html").read_text()
    assert "broken.png" in capsys.readouterr().err


def interrupt_after(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Ctrl-C in the middle of the run: while the journal takes the picture after ``number`` others."""
    from dccnet.runtime.journal import Journal

    add, count = Journal.add, iter(range(100))

    def stopping(journal: Any, *values: Any) -> None:
        if next(count) == number:
            monkeypatch.setattr(Journal, "add", add)
            raise KeyboardInterrupt
        add(journal, *values)

    monkeypatch.setattr(Journal, "add", stopping)


def test_an_interrupted_run_continues(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("coco.json", "photos", "-o", "whole.json")
    interrupt_after(monkeypatch, 2)
    with pytest.raises(click.Abort) as stopped:
        call("coco.json", "photos", "-o", "all.json", "--review", "sheet.html")
    assert not isinstance(stopped.value, DccError) and not (place / "all.json").exists()
    with pytest.raises(UsageError, match=r"holds another run .*: choose another file with -o"):
        call("coco.json", "photos", "-o", "all.json", "--min-confidence", "0.9")
    summary = call("coco.json", "photos", "-o", "all.json", "--review", "sheet.html")
    assert summary["resumed"] == 2
    assert (place / "all.json").read_text() == (place / "whole.json").read_text()
    assert (place / "sheet.html").read_text().count("data:image/jpeg") == 4


def test_a_picture_that_changed_meanwhile_is_matched_again(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(monkeypatch, 3)
    with pytest.raises(click.Abort):
        call("coco.json", "photos", "-o", "all.json")
    journal = place / "all.json.progress" / JOURNAL
    assert len(journal.read_text().splitlines()) == 4
    cv2.imwrite(str(place / "photos/b/x.png"), np.zeros((64, 64, 3), np.uint8))
    call("coco.json", "photos", "-o", "all.json")
    images = json.loads((place / "all.json").read_text())["images"]
    assert [image["height"] for image in images] == [128, 64, 128, 128]


def test_a_killed_process_continues(dcc: Cli, place: Path) -> None:
    for number in range(12):
        cv2.imwrite(str(place / "photos" / f"more{number}.png"), np.full((64, 64, 3), number, np.uint8))
    output = place / "all.json"
    command = ["propagate", f"{place}/coco.json", f"{place}/photos", "-o", f"{output}", "--threads", "1"]
    process = subprocess.Popen([sys.executable, "-m", "dccnet", *command], stderr=subprocess.DEVNULL)
    journal = place / "all.json.progress" / JOURNAL
    while process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") > 4:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    done = dcc(*command, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["pictures"] == 16 and summary["resumed"] >= 4
    again = dcc(*command)
    one_sentence(again, 2, "all.json is there already", "--overwrite")


@pytest.fixture
def clip(photos: list[Image], place: Path) -> Path:
    """Six frames, 160x120, panning over a photograph."""
    path = place / "pan.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (160, 120))
    for shift in range(6):
        writer.write(np.ascontiguousarray(photos[0][20:140, 4 * shift : 4 * shift + 160]))
    writer.release()
    return path


def test_points_of_a_video_follow_its_motion(
    call: Call, place: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("frame:0", clip, "--points", "80,50;100,80", "--category", "cat")
    summary = call(*arguments, "-o", "whole.csv")
    assert summary["mode"] == "temporal" and summary["pictures"] == 6
    rows = list(csv.DictReader((place / "whole.csv").open()))
    first = [row for row in rows if row["label"] == "1"]
    assert [row["image"] for row in first][:2] == ["pan.mp4/frame_000000", "pan.mp4/frame_000001"]
    assert [int(row["frame"]) for row in first] == list(range(6))
    truth = 80 - 4 * np.arange(6)  # the camera pans by four pixels a frame
    assert abs(np.array([float(row["x"]) for row in first]) - truth).max() < 2.0
    interrupt_after(monkeypatch, 3)
    with pytest.raises(click.Abort):
        call(*arguments, "-o", "again.csv")
    more = ("--review", "again.html", "--save-frames", "frames")
    assert call(*arguments, "-o", "again.csv", *more)["resumed"] == 3
    sheet = (place / "again.html").read_text()
    assert sheet.count("<figure") == 6 and 'href="frames/frame_000002.png#t=0.08"' in sheet
    text = (place / "again.csv").read_text().replace("frames/", "pan.mp4/").replace(".png", "")
    (place / "again.csv").write_text(text)
    assert (place / "again.csv").read_text() == (place / "whole.csv").read_text()


def test_frames_are_saved_and_named(call: Call, place: Path, clip: Path) -> None:
    more = ("--save-frames", "frames", "--different")
    assert call("frame:3", clip, "--box", "40,30,60,50", "-o", "all.json", *more)["mode"] == "semantic"
    found = read_annotations(place / "all.json")
    names = [picture.name for picture in found.pictures]
    assert names[:2] == ["frames/frame_000000.png", "frames/frame_000001.png"] and len(names) == 6
    assert all((place / name).is_file() for name in names)
    boxes = [picture.instances[0].box for picture in found.pictures]
    assert boxes[3] is not None and boxes[3].tolist() == [40, 30, 60, 50] and boxes[5] is not None


def test_masks_keep_labels_and_palette(call: Call, place: Path) -> None:
    mask = np.zeros((128, 160, 3), np.uint8)
    mask[30:90, 40:120] = (0, 0, 200)
    mask[100:120, 60:100] = (250, 250, 0)
    cv2.imwrite(str(place / "mask.png"), mask)
    call("photos/a/x.png", "photos", "--mask", "mask.png", "-o", "all.json", "--save-masks", "masks")
    own, palette = read_mask(place / "masks/a/x.png")
    assert np.unique(own).tolist() == [0, 1, 2] and palette is not None
    colours = np.frombuffer(palette[0][1], np.uint8).reshape(-1, 3)
    assert colours[:3].tolist() == [[0, 0, 0], [200, 0, 0], [0, 250, 250]]
    carried, kept = read_mask(place / "masks/b/x.png")
    assert kept == palette and carried.shape == (128, 160)
    x, y = SHIFTS["b/x.png"]
    truth = np.zeros((128, 160), bool)
    truth[30 - y : 90 - y, 40 - x : 120 - x] = True
    assert ((carried == 1) & truth).sum() / ((carried == 1) | truth).sum() > 0.7
    (place / "masks2").mkdir()
    call("all.json", "photos/x2.png", "--use", "a/x.png", "-o", "again.json", "--save-masks", "masks2")


def test_corrected_points_are_further_references(call: Call, place: Path) -> None:
    call("coco.json", "photos", "-o", "all.json")
    content = json.loads((place / "all.json").read_text())
    edited = next(a for a in content["annotations"] if a["image_id"] == 2)
    edited["keypoints"][:3] = [33, 44, 2]
    (place / "edited.json").write_text(json.dumps(content))
    summary = call("coco.json", "photos", "--corrections", "edited.json", "all.json", "-o", "new.json")
    assert summary["references"] == ["photos/a/x.png", "photos/b/x.png"]
    found = json.loads((place / "new.json").read_text())
    kept = next(a for a in found["annotations"] if a["image_id"] == 2)
    assert kept["keypoints"][:3] == [33, 44, 2] and "score" not in kept
    voted = next(image for image in found["images"] if image["id"] == 3)["references"]
    assert set(voted) == {"photos/a/x.png", "photos/b/x.png"}
    assert list(voted.values()) == sorted(voted.values(), reverse=True)  # the best first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["coco.json"], "name a reference and the pictures"),
        (["missing.json", "photos"], "missing.json does not exist"),
        (["coco.json", "nowhere"], "does not exist"),
        (["coco.json", "photos", "--use", "dog*"], "no picture that --use names; it has photos/a/x.png"),
        (["photos/a/x.png", "photos"], "say what is in it with --points"),
        (["photos/a/x.png", "photos", "--points", "500,1"], "lies outside the 160x128"),
        (["coco.json", "photos", "--points", "5,1"], "go with a reference that is a picture"),
        (["coco.json", "photos", "--save-masks", "m"], "needs a reference with a mask"),
        (["coco.json", "photos", "--save-frames", "m"], "goes with a video"),
        (["coco.json", "photos", "--format", "cvat"], "--format cvat is written to .xml"),
        (["frame:0", "photos", "--points", "5,1"], "photos is none"),
        (["Makefile", "photos"], "neither a picture nor one of"),
        (["coco.json", "rtsp://camera"], "use dcc match --video"),
    ],
)
def test_wrong_calls_say_what_to_do(call: Call, arguments: list[str], said: str) -> None:
    with pytest.raises(DccError, match=said):
        call(*arguments, "-o", "all.json")


def test_a_picture_of_another_size_than_annotated_is_refused(call: Call, place: Path) -> None:
    content = json.loads((place / "coco.json").read_text())
    content["images"][0]["width"] = 161
    (place / "coco.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="annotations were made on 161x128"):
        call("coco.json", "photos", "-o", "all.json")


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0.05, 1)), min_size=1, max_size=5)
)
def test_references_agree_inside_their_places(votes: list[tuple[float, float, float]]) -> None:
    places = np.array([[vote[:2]] for vote in votes])
    weights = np.array([[vote[2]] for vote in votes])
    found = agreed(places, weights, 10.0, 20.0)
    points, confidence = found.points, found.confidence
    assert (points >= places.min(axis=0) - 1e-9).all() and (points <= places.max(axis=0) + 1e-9).all()
    assert 0 < confidence[0] <= weights.max() + 1e-6
    if len(votes) == 1:
        assert confidence[0] == pytest.approx(weights[0, 0]) and points[0] == pytest.approx(places[0, 0])


def test_one_reference_that_errs_does_not_move_two_that_agree() -> None:
    places = np.array([[[10.0, 10.0]], [[12.0, 10.0]], [[80.0, 90.0]]])
    found = agreed(places, np.array([[0.8], [0.8], [0.9]]), 5.0, 10.0)
    assert np.linalg.norm(found.points[0] - [11, 10]) < 0.5 and 0.5 < found.confidence[0] < 0.7
    missing = np.array([[[np.nan, np.nan]], [[12.0, 10.0]], [[np.nan, np.nan]]])
    found = agreed(missing, np.array([[0.0], [0.8], [0.0]]), 5.0, 10.0)
    assert found.points[0] == pytest.approx([12, 10]) and found.confidence[0] == pytest.approx(0.8)
    nobody = agreed(missing[:1], np.zeros((1, 1)), 5.0, 10.0)
    assert np.isnan(nobody.points).all() and nobody.confidence.tolist() == [0]


def test_specks_and_small_holes_of_a_mask_go() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:50, 10:60] = True
    whole = mask.copy()
    mask[20, 20] = False
    mask[3, 70] = True
    assert np.array_equal(without_specks(mask), whole)
    assert not without_specks(np.zeros((4, 4), bool)).any() and without_specks(np.ones((4, 4), bool)).all()


def test_records_return_unchanged() -> None:
    for picture in birds().pictures:
        values = picture_values(picture)
        again = json.loads(json.dumps(values, allow_nan=False))
        assert json.dumps(picture_values(picture_of(again))) == json.dumps(again)
