"""What people give to a matcher beside arrays: paths, pictures of PIL, one point; and how results print."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dccnet.runtime.arrays import Image
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ArgumentError, DccError, ImageError
from dccnet.runtime.extras import install
from dccnet.runtime.given_pictures import as_image
from dccnet.runtime.images import write_image
from dccnet.runtime.point_matches import PointMatches
from tests.helpers.streams import IdentityBackend, grey, matcher_of

SHAPE = (12, 20, 3)


@pytest.fixture(scope="module")
def picture() -> Image:
    """Blue, green and red differ everywhere, so that no order of channels looks like another."""
    image = np.random.default_rng(7).integers(0, 80, SHAPE, np.uint8)
    return image + np.array([0, 80, 160], np.uint8)


@pytest.fixture(scope="module")
def file(picture: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("given") / "picture.png"
    write_image(path, picture)
    return path


@pytest.fixture(scope="module")
def result() -> Correspondences:
    return matcher_of(IdentityBackend()).match(grey(3), grey(9))


def pil(image: Image) -> Any:
    return pytest.importorskip("PIL.Image").fromarray(np.ascontiguousarray(image[..., ::-1]))


def test_a_path_and_a_pil_picture_are_the_array_that_opencv_reads(picture: Image, file: Path) -> None:
    opened = pytest.importorskip("PIL.Image").open(file)
    for same in (picture, file, str(file), opened, pil(picture)):
        np.testing.assert_array_equal(as_image(same), picture)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_pil_pictures_of_all_8_bit_modes_become_colours(mode: str, picture: Image) -> None:
    converted = pil(picture).convert(mode)
    expected = np.asarray(converted.convert("RGB"))[..., ::-1]
    np.testing.assert_array_equal(as_image(converted), expected)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pil_pictures_that_pil_would_cut_off_are_refused(mode: str) -> None:
    deep = pytest.importorskip("PIL.Image").new(mode, (4, 4))
    with pytest.raises(ImageError, match=f"mode {mode} has no 8-bit colours"):
        as_image(deep)


def test_pictures_that_cannot_be_decoded_say_so(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ImageError, match="cannot be decoded"):
        as_image(pytest.importorskip("PIL.Image").open(cut))
    with pytest.raises(ImageError, match="does not exist"):
        as_image("absent.png")
    with pytest.raises(ImageError, match="a path or a PIL picture, got list"):
        as_image([[0, 0, 0]])


def test_a_matcher_takes_all_of_them(picture: Image, file: Path) -> None:
    matcher, opened = matcher_of(IdentityBackend()), pil(picture)
    expected = matcher.match(picture, grey(9))
    for a in (file, str(file), opened, matcher.encode(file)):
        found = matcher.match(a, grey(9))
        assert found.size_a == expected.size_a == SHAPE[:2]
        np.testing.assert_array_equal(found.score_a, expected.score_a)
    backend = IdentityBackend()
    pairs = [(opened, file), (opened, file), (file, opened)]
    assert len(list(matcher_of(backend).match_many(pairs))) == 3
    assert len(backend.encoded) == 2  # each once
    for drawn in (expected.draw(file, grey(9)), expected.draw(opened, grey(9))):
        np.testing.assert_array_equal(drawn, expected.draw(picture, grey(9)))
    np.testing.assert_array_equal(expected.warp(opened), expected.warp(cv2.imread(str(file))))


@given(st.tuples(st.floats(0, 59), st.floats(0, 47)), st.sampled_from(["a", "b"]))
def test_one_point_moves_as_in_a_list_of_one(point: tuple[float, float], side: Any) -> None:
    result = matcher_of(IdentityBackend()).match(grey(3), grey(9))
    moved = result.transfer(point, side)
    assert moved.shape == (2,)
    np.testing.assert_array_equal(moved, result.transfer([point], side)[0])
    assert result.transfer_scores(np.array(point), side).shape == (1,)
    carried = result.carry(point, side)
    assert len(carried) == 1 and carried.points_a.shape == carried.points_b.shape == (1, 2)


def test_errors_of_points_are_both_of_dcc_and_of_values(result: Correspondences) -> None:
    for points, says in (
        ((float("nan"), 1.0), r"not finite: \[nan, 1.0\] in row 0"),
        ([[1.0, 2.0], [3.0, np.inf]], r"not finite: \[3.0, inf\] in row 1"),
        ((900.0, 1.0), "lies outside the"),
        ((1.0, 2.0, 0.9), "2 columns"),
        ([[1.0, 2.0], [3.0]], "must be numbers"),
        ("12", "must be numbers|2 columns"),
    ):
        for error in (DccError, ValueError, ArgumentError):
            with pytest.raises(error, match=says):
                result.transfer(points, from_="a")


def test_matches_become_a_dataframe(result: Correspondences, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    matches = result.matches("a")
    frame = matches.to_dataframe()
    assert list(frame.columns) == ["x_a", "y_a", "x_b", "y_b", "score"] and len(frame) == len(matches)
    np.testing.assert_array_equal(frame[["x_a", "y_a"]], matches.points_a)
    np.testing.assert_array_equal(frame[["x_b", "y_b"]], matches.points_b)
    sure = PointMatches(matches.points_a, matches.points_b, matches.scores, 1 - matches.scores)
    np.testing.assert_array_equal(sure.to_dataframe()["confidence"], 1 - matches.scores)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DccError, match="a DataFrame needs pandas: " + re.escape(install("dataframe"))):
        matches.to_dataframe()


def test_matches_become_a_parquet_file(
    result: Correspondences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    matches = result.mutual()
    matches.to_parquet(tmp_path / "mutual.parquet")
    read = parquet.read_table(tmp_path / "mutual.parquet").to_pydict()
    assert list(read) == ["x_a", "y_a", "x_b", "y_b", "score"]
    np.testing.assert_array_equal(np.stack([read["x_b"], read["y_b"]], axis=1), matches.points_b)
    result.save(tmp_path / "both.parquet")
    both = parquet.read_table(tmp_path / "both.parquet").to_pydict()
    assert both["direction"].count("a_to_b") == len(result.matches("a"))
    np.testing.assert_array_equal(both["score"][-len(result.matches("b")) :], result.matches("b").scores)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DccError, match="Parquet needs pyarrow: " + re.escape(install("parquet"))):
        matches.to_parquet(tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()


def test_what_people_print_is_one_short_line(result: Correspondences) -> None:
    matcher = matcher_of(IdentityBackend())
    with matcher.stream([grey(3)], grey(0), points=[[1.0, 2.0]]) as stream:
        frame = next(stream)
    for value in (result, result.mutual(), matcher.encode(grey(1)), frame, frame.reference):
        text = repr(value)
        assert text.startswith(f"{type(value).__name__}(") and "\n" not in text and len(text) < 1000
    assert "size_a=(48, 60)" in repr(result) and "score_a=float32 (4, 5)" in repr(result)
    assert "heatmap" not in repr(result)  # there are none
