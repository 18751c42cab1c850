from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.evaluation.pairs import Pair, Picture, file_picture, numbered_rows, read_pairs
from dccnet.evaluation.pck import mean_pck, pair_pck
from dccnet.runtime.errors import DataError
from tests.helpers.results import identity


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        image = np.zeros((10, 20, 3), np.uint8)
        image[:, :5] = 255
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), image)
    return tmp_path


KEYPOINTS = "source_image,target_image,class,XA,YA,XB,YB\n"
PAIR = "images/a.png,images/b.png,3"


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_keypoint_lists_with_padding_a_bom_and_windows_line_ends(folder: Path) -> None:
    row = f"{PAIR},1.5;2;-1,3;4;-1,5;6;-1,7;8;-1\n"
    path = written(folder, (KEYPOINTS + row).replace("\n", "\r\n"), "utf-8-sig")
    (pair,) = read_pairs(path)
    assert pair.category == "3"
    assert pair.source_points is not None and pair.target_points is not None
    np.testing.assert_array_equal(pair.source_points, [[1.5, 3], [2, 4]])
    np.testing.assert_array_equal(pair.target_points, [[5, 7], [6, 8]])
    (pair,) = read_pairs(path, one_based=True)
    assert pair.source_points is not None
    np.testing.assert_array_equal(pair.source_points, [[0.5, 2], [1, 3]])


def test_training_lists_mirror_both_pictures(folder: Path) -> None:
    header = "source_image,target_image,class,flip\n"
    plain, mirrored = read_pairs(written(folder, f"{header}{PAIR},0\n{PAIR},1\n"))
    assert plain.source_points is None
    assert (mirrored.source.load() == plain.source.load()[:, ::-1]).all()
    assert (mirrored.target.load()[:, -5:] == 255).all()
    assert plain.source.key != mirrored.source.key


def test_pictures_may_live_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("lists")
    path = written(elsewhere, f"{KEYPOINTS}{PAIR},1,1,1,1\n")
    assert len(read_pairs(path, folder)) == 1
    with pytest.raises(DataError, match=r"line 2: .*a\.png does not exist; .*--root"):
        read_pairs(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"columns \(none\)"),
        ("a,b\n1,2\n", "columns a, b"),
        (KEYPOINTS, "is empty"),
        (f"{KEYPOINTS}{PAIR},1,1,1\n", "line 2: the number of columns"),
        (f"{KEYPOINTS}{PAIR},1,x,1,1\n", "line 2: YA contains values that are not numbers"),
        (f"{KEYPOINTS}{PAIR},1,nan,1,1\n", "line 2: YA contains values that are not numbers"),
        (f"{KEYPOINTS}{PAIR},1;2,1,1,1\n", "different numbers"),
        (f"{KEYPOINTS}{PAIR},-1,-1,-1,-1\n", "no keypoints"),
        (f"source_image,target_image,class,flip\n{PAIR},2\n", "flip must be 0 or 1"),
    ],
)
def test_malformed_lists_name_the_line(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pairs(written(folder, text))


def test_missing_and_binary_lists(folder: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_pairs(folder / "absent.csv")
    with pytest.raises(DataError, match="as text"):
        read_pairs(folder / "images" / "a.png")


def test_pck_by_hand() -> None:
    truth = np.array([[0.0, 0.0], [100.0, 40.0]])  # a box of 100 by 40
    warped = truth + np.array([[6.0, 8.0], [0.0, 10.1]])  # off by exactly 10 and by 10.1
    assert pair_pck(warped, truth, (50, 400), 0.1, "bbox") == 0.5
    assert pair_pck(warped, truth, (50, 400), 0.1, "img") == 1.0
    # At 224×224 of a 400×50 picture: (6, 8) becomes (3.36, 35.84), over 22.4; so does (0, 10.1).
    assert pair_pck(warped, truth, (50, 400), 0.1, "scnet") == 0.0
    with pytest.raises(ValueError, match="no keypoints"):
        pair_pck(np.empty((0, 2)), np.empty((0, 2)), (5, 5), 0.1, "bbox")


def test_mean_pck_is_a_mean_over_pairs_not_points() -> None:
    picture = Picture("x", lambda: np.zeros((48, 64, 3), np.uint8))
    here = np.array([[5.0, 5.0], [60.0, 40.0]])
    far = here[::-1].copy()
    right = Pair(picture, picture, "1", here, here)
    wrong = Pair(picture, picture, "1", far, here)
    assert mean_pck([right, wrong, wrong], lambda _: identity()) == pytest.approx(100 / 3)


def test_a_pair_without_keypoints_cannot_be_scored(folder: Path) -> None:
    picture = file_picture(folder / "images" / "a.png")
    with pytest.raises(ValueError, match="no keypoints"):
        mean_pck([Pair(picture, picture, "1")], lambda _: identity())


@pytest.mark.parametrize("read", [read_pairs, numbered_rows])
def test_a_field_longer_than_pythons_limit_is_one_sentence(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "long.csv"
    path.write_text("source_image,target_image,class,flip\n" + "x" * 200_000 + ",b,1,0\n")
    with pytest.raises(DataError, match="field larger than field limit"):
        read(path)


@pytest.mark.parametrize(("name", "reason"), [("a" * 300 + ".jpg", "too long"), ("a\0.jpg", "zero byte")])
@pytest.mark.parametrize("must_exist", [True, False])
def test_a_name_that_no_file_can_have_is_told_with_its_line(
    name: str, reason: str, must_exist: bool, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(f"source_image,target_image,class,flip\n{name},b.jpg,1,0\n")
    with pytest.raises(DataError, match=f"line 2: .*{reason}"):
        read_pairs(path, must_exist=must_exist)
