"""Points from files: every format, whose picture they belong to, and what is wrong in a sentence."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dccnet.runtime.errors import DataError
from dccnet.runtime.file_names import names_of, natural_key
from dccnet.runtime.video.points_files import read_points


def test_points_are_read_from_every_format(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 5, "file_name": "x/a.jpg"}, {"id": 6, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "keypoints": ["nose", "ear", "tail"]}],
        "annotations": [
            {"image_id": 5, "category_id": 1, "keypoints": [1, 2, 2, 0, 0, 0, 5, 6, 1]},
            {"image_id": 6, "category_id": 1, "keypoints": [9, 9, 2, 9, 9, 2, 9, 9, 2]},
        ],
    }
    for name, text, points, labels in (
        ("a.csv", "x,y\n1,2\n3,4\n", [[1, 2], [3, 4]], ()),
        ("b.csv", "1,2\n3,4\n", [[1, 2], [3, 4]], ()),
        ("c.csv", "label,y,x\nnose,2,1\n", [[1, 2]], ("nose",)),
        ("d.json", "[[1, 2], [3, 4]]", [[1, 2], [3, 4]], ()),
        ("e.json", '{"points": [[1, 2]], "labels": ["nose"]}', [[1, 2]], ("nose",)),
        ("f.json", json.dumps(coco), [[1, 2], [5, 6]], ("nose", "tail")),
    ):
        (tmp_path / name).write_text(text)
        found, called = read_points(tmp_path / name, "pictures/a.jpg")
        assert found.tolist() == points and called == labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "x,y\n1\n"),
        ("a.csv", "x,z\n1,2\n"),
        ("a.csv", ""),
        ("a.csv", "x,y\n1,nan\n"),
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", "[[1, 2, 3], [4]]"),
        ("a.json", '{"annotations": []}'),
        ("a.json", '{"annotations": [], "images": [{"id": 1, "file_name": "b.jpg"}]}'),
        ("a.json", '{"points": [[1, 2]], "labels": ["x", "y"]}'),
        ("a.json", "[" * 100_000),
        ("a.json", '{"images": [{"id": [], "file_name": "a.jpg"}], "annotations": []}'),
        ("a.json", '{"images": {}, "annotations": 3}'),
        ("a.csv", "x,y\n" + "1" * 200_000 + ",2\n"),
    ],
)
def test_points_that_cannot_be_read_are_one_sentence(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name):
        read_points(tmp_path / name, "a.jpg")
    with pytest.raises(DataError, match="does not exist"):
        read_points(tmp_path / "absent.csv", "a.jpg")


COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "train/a.png"}, {"id": 2, "file_name": "val/a.png"}],
    "categories": [{"id": 1, "name": "cat", "keypoints": ["eye", "ear"]}],
    "annotations": [
        {"image_id": 1, "category_id": 1, "keypoints": [100, 50, 2, 140, 60, 2]},
        {"image_id": 2, "category_id": 1, "keypoints": [10, 20, 2, 30, 40, 2]},
    ],
}


@pytest.mark.parametrize("file", ["coco.json", "windows.json", "points.csv"])
def test_two_pictures_of_one_name_keep_their_own_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    (tmp_path / "coco.json").write_text(json.dumps(COCO))
    (tmp_path / "windows.json").write_text(json.dumps(COCO).replace("/a.png", r"\\a.png"))
    (tmp_path / "points.csv").write_text("image,x,y\ntrain/a.png,100,50\nval/a.png,10,20\n")
    for picture, first in (("train/a.png", [100, 50]), (f"{tmp_path}/val/a.png", [10, 20])):
        assert read_points(tmp_path / file, picture)[0][0].tolist() == first
    (tmp_path / "train").mkdir()
    monkeypatch.chdir(tmp_path / "train")  # where a.png means train/a.png
    assert read_points(tmp_path / file, "a.png")[0][0].tolist() == [100, 50]
    with pytest.raises(DataError, match=r"several pictures .* a.png \(train.a.png, val.a.png\)"):
        read_points(tmp_path / file, "/elsewhere/a.png")
    with pytest.raises(DataError, match="no points of b"):
        read_points(tmp_path / file, "b.png")


def test_points_of_another_picture_are_not_taken(tmp_path: Path) -> None:
    """Of a COCO file with one picture, and of a CSV file, they were."""
    (tmp_path / "coco.json").write_text(json.dumps(COCO | {"images": COCO["images"][:1]}))
    with pytest.raises(DataError, match="no points of b"):
        read_points(tmp_path / "coco.json", "b.png")
    assert len(read_points(tmp_path / "coco.json", "frame:0")[0]) == 2
    (tmp_path / "points.csv").write_text("image,x,y,label\na.png,100,50,eye\nother.png,10,20,eye\n")
    found, labels = read_points(tmp_path / "points.csv", "a.png")
    assert found.tolist() == [[100, 50]] and labels == ("eye",)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "x;y;label\n100,5;50,25;Auge\n", "separator is ';'"),
        ("a.csv", "x\ty\n1\t2\n", "separator is a tab"),
        ("a.csv", "x,y\n1,2\n1,2,3\n", "line 3 has 3 columns, the header 2"),
        ("a.csv", "1,2\n1,2,3\n", "line 2 has 3 columns"),
        ("a.csv", "x,y\n1,left\n", "line 2: '1', 'left'"),
        ("a.json", "[[100, 50, 0.9], [60, 80, 0.8]]", r"2 columns \(x, y\), got the shape \(2, 3\)"),
        ("a.json", "[100, 50, 60, 80]", "2 columns"),
        ("a.json", '{"points": {"eye": [100, 50]}}', "not an object"),
        ("a.json", '{"eye": [100, 50]}', "no 'points'"),
        ("a.json", '{"images": [{"id": 1}], "annotations": []}', "entry 1 of 'images' has no 'file_name'"),
    ],
)
def test_what_is_wrong_and_where(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=says):
        read_points(tmp_path / name, "a.png")


@pytest.mark.parametrize(
    ("keypoints", "says"),
    [
        ([1, 2, 2, 3, 4, 2, 5, 6, 2], "category cat names 2 keypoints, annotation 1 has 3"),
        ([20, 20], "annotation 1 are no triplets"),
        ([1, 2, 2, "3", 4, 2], "annotation 1 are no triplets"),
    ],
)
def test_keypoints_that_do_not_fit_their_category(tmp_path: Path, keypoints: list[Any], says: str) -> None:
    annotation = {"image_id": 1, "category_id": 1, "keypoints": keypoints}
    (tmp_path / "coco.json").write_text(json.dumps(COCO | {"annotations": [annotation]}))
    with pytest.raises(DataError, match=says):
        read_points(tmp_path / "coco.json", "train/a.png")


@given(st.lists(st.integers(0, 10**20), unique=True))
def test_numbers_in_names_are_in_their_own_order(numbers: list[int]) -> None:
    names = [f"run 2/frame {number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"run 2/frame {number}.png" for number in sorted(numbers)]


@given(st.lists(st.text("ab1/.0 ٣", min_size=1), max_size=6), st.integers(0, 99))
def test_any_names_have_one_natural_order(names: list[str], seed: int) -> None:
    shuffled = random.Random(seed).sample(names, len(names))
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)


@given(st.lists(st.text("ab/", min_size=1), max_size=5), st.text("ab", min_size=1))
def test_a_picture_has_the_base_name_of_what_is_found(names: list[str], picture: str) -> None:
    try:
        found = names_of(f"/a/b/{picture}", names)
    except DataError:
        return
    assert all(os.path.basename(name.rstrip("/")) == picture for name in found)  # noqa: PTH119
