"""Pictures of repeated parts: their truth, their list, and the command that makes them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.evaluation.pairs import read_pairs
from dccnet.evaluation.photographs import FREE
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DataError
from dccnet.training.repeated import KINDS, repeated_pair
from tests.helpers.commands import Cli, one_sentence

SIZE = (96, 120)


def flat(*levels: int) -> list[Image]:
    """Photographs of one grey level each."""
    return [np.full((40, 50, 3), level, np.uint8) for level in levels]


@pytest.mark.parametrize("index", range(8))
def test_keypoints_are_the_centres_of_the_parts(index: int) -> None:
    """Every keypoint lies on a region of its own, of the part's grey level."""
    pair = repeated_pair(flat(20, 120, 230), index, seed=5, size=SIZE)
    assert pair.kind == KINDS[index % 4] and len(pair.source_points) == len(pair.target_points) >= 4
    for picture, points in ((pair.source, pair.source_points), (pair.target, pair.target_points)):
        assert picture.shape == (*SIZE, 3) and ((points > 0) & (points < [119, 95])).all()
        grey = cv2.medianBlur(picture[..., 1].copy(), 3).astype(float)
        levels = [grey[round(y), round(x)] for x, y in points]
        level = np.median(levels)
        assert np.ptp(levels) < 60  # copies differ by a little brightness
        like_a_part = (np.abs(grey - level) < 45).astype(np.uint8)
        _, labels = cv2.connectedComponents(like_a_part, connectivity=4)
        found = {int(labels[round(y), round(x)]) for x, y in points}
        assert 0 not in found


def test_the_order_of_parts_is_the_same_in_both_pictures() -> None:
    """Warps neither mirror nor swap: columns stay in order from left to right."""
    for index in range(1, 16, 4):  # wheels, in one row
        pair = repeated_pair(flat(20, 120, 230), index, seed=2, size=SIZE)
        for points in (pair.source_points, pair.target_points):
            assert (np.diff(points[:, 0]) > 0).all()


def test_pairs_are_reproducible() -> None:
    photographs = flat(20, 90, 160, 230)
    first, again, other = (repeated_pair(photographs, 2, seed, SIZE) for seed in (1, 1, 2))
    assert (first.source == again.source).all() and (first.target == again.target).all()
    assert (first.target_points == again.target_points).all()
    assert not (first.source == other.source).all()


def test_one_photograph_is_too_few() -> None:
    with pytest.raises(DataError, match="at least two photographs"):
        repeated_pair(flat(100), 0, 1, SIZE)


def test_the_command_writes_a_list_that_can_be_read(dcc: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "repeated"
    made = dcc("data", "repeated", "-o", folder, "--pairs", "5", "--side", "96")
    assert made.returncode == 0 and made.stdout.strip() == str(folder / "pairs.csv")
    pairs = read_pairs(folder / "pairs.csv")
    assert [pair.category for pair in pairs] == [*KINDS, KINDS[0]]
    assert pairs[0].target.load().shape == (96, 96, 3)
    one_sentence(dcc("data", "repeated", "-o", folder), 2, "already holds a list of pairs")


def test_own_photographs_can_be_used(dcc: Cli, tmp_path: Path, pictures: list[Path]) -> None:
    made = dcc(
        "data",
        "repeated",
        "-o",
        tmp_path,
        "--photographs",
        pictures[0].parent,
        "--pairs",
        "1",
        "--side",
        "64",
    )
    assert made.returncode == 0 and len(read_pairs(tmp_path / "pairs.csv")) == 1


def test_scikit_images_photographs_say_that_they_are_free() -> None:
    data = pytest.importorskip("skimage.data")
    words = ("CC0", "public domain", "No known copyright")
    for name in FREE:
        assert any(word in getattr(data, name).__doc__ for word in words), name
