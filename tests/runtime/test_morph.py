"""Aligned pictures, morphs, and the commands that write them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from dccnet.cli import dcc
from dccnet.runtime.alignment.align import align
from dccnet.runtime.alignment.frame import Frame
from dccnet.runtime.alignment.morph import Morph, MorphSettings, filled
from dccnet.runtime.arrays import Image
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ArgumentError, UsageError
from dccnet.runtime.geometry import Size
from dccnet.runtime.images import write_image
from dccnet.runtime.video.animation import write_animation
from tests.helpers.results import identity


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Two photographs of other shapes."""
    folder = tmp_path_factory.mktemp("pair")
    pictures = Path("export/bundles/pictures")
    for name, size in (("cat", (120, 80)), ("coffee", (90, 70))):
        picture = cv2.imread(str(pictures / f"{name}.jpg"))
        assert picture is not None
        write_image(folder / f"{name}.png", np.asarray(cv2.resize(picture, size), np.uint8))
    yield folder / "cat.png", folder / "coffee.png"


def noise(size: tuple[int, int], seed: int) -> Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def shapes() -> tuple[Correspondences, Image, Image]:
    """A pair of other shapes whose cells match at the same places."""
    index, score = np.arange(36).reshape(6, 6), np.ones((6, 6), np.float32)
    return (
        Correspondences((60, 90), (80, 64), index, score, index, score),
        noise((60, 90), 0),
        noise((80, 64), 1),
    )


def printed(done: Result) -> dict[str, Any]:
    """The JSON on stdout, with which click before 8.2 mixes stderr."""
    values: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{") :])[0]
    return values


def run(*arguments: object) -> Result:
    return CliRunner().invoke(dcc, [str(argument) for argument in arguments])


def test_a_morph_starts_with_a_and_ends_with_b() -> None:
    result, a, b = shapes()
    morph = Morph(result, a, b, MorphSettings(longest=100))
    frame = Frame.around(result.size_a, result.size_b, 100)
    for time, picture, placement in ((0.0, a, frame.a), (1.0, b, frame.b)):
        expected = filled(picture, placement, frame.size)
        assert np.abs(morph.at(time).astype(int) - expected).max() <= 4
    middle = morph.at(0.5)
    assert middle.shape == (*frame.size, 3) and middle.dtype == np.uint8


def test_a_loop_goes_there_and_back_and_rests_at_both_ends() -> None:
    result, a, b = shapes()
    settings = MorphSettings(seconds=2, rate=10, longest=64)
    morph = Morph(result, a, b, settings)
    frames = list(morph.frames())
    assert len(frames) == 20 == morph.count
    for step in range(1, 10):
        np.testing.assert_array_equal(frames[step], frames[-step])
    np.testing.assert_array_equal(frames[0], frames[1])
    morph.settings = MorphSettings(1, 10, 64, loop=False)
    once = list(morph.frames())
    np.testing.assert_array_equal(once[0], frames[0])
    np.testing.assert_array_equal(once[-1], frames[10])


def test_a_morph_beside_its_pictures_is_three_times_as_wide() -> None:
    result, a, b = shapes()
    morph = Morph(result, a, b, MorphSettings(1, 2, 64, side_by_side=True))
    frame = next(morph.frames())
    height, width = Frame.around(result.size_a, result.size_b, 64).size
    assert frame.shape == (height, 3 * width + 16, 3) == (*morph.shown_size, 3)
    assert np.abs(frame[:, :width].astype(int) - frame[:, width + 8 : 2 * width + 8]).max() <= 4


@pytest.mark.parametrize(("size_a", "size_b"), [((90, 100), (89, 100)), ((100, 90), (100, 91))])
def test_pictures_of_almost_one_shape_fill_the_frame(size_a: Size, size_b: Size) -> None:
    """Rounding leaves a picture one row or column short of the frame."""
    a, b = (np.full((*size, 3), 90, np.uint8) for size in (size_a, size_b))
    result = dataclasses.replace(identity(size_a), size_b=size_b)
    morph = Morph(result, a, b, MorphSettings(rate=1, side_by_side=True))
    for frame in morph.frames():
        assert frame.shape[:2] == morph.shown_size


@pytest.mark.parametrize(("size_a", "size_b"), [((3, 2000), (300, 300)), ((1, 600), (600, 1))])
def test_a_picture_far_narrower_than_the_frame_is_a_line_in_it(size_a: Size, size_b: Size) -> None:
    frame = Frame.around(size_a, size_b, 64)
    for size, placement in ((size_a, frame.a), (size_b, frame.b)):
        assert np.unique(filled(np.full((*size, 3), 90, np.uint8), placement, frame.size)).tolist() == [90]


def test_a_picture_that_does_not_fill_the_frame_lies_on_a_blurred_one() -> None:
    frame = Frame.around((50, 100), (100, 50), 100)
    picture = np.full((50, 100, 3), 90, np.uint8)
    np.testing.assert_array_equal(filled(picture, frame.a, frame.size), 90)


def test_the_largest_frame_is_filled_in_seconds_as_a_small_one_is() -> None:
    """A blur at the size of the frame took minutes."""
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 10, 3), np.uint8), (100, 50))
    small, large = (Frame.around((50, 100), (100, 50), longest) for longest in (240, 7680))
    started = process_time()
    found = filled(picture, large.a, large.size)
    assert process_time() - started < 20
    reduced = cv2.resize(found, small.size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - filled(picture, small.a, small.size)).mean() < 2


@pytest.mark.parametrize("wrong", [{"seconds": 0.1}, {"seconds": 100}, {"rate": 0}, {"longest": 4}])
def test_morphs_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="a morph"):
        MorphSettings(**wrong)  # type: ignore[arg-type]


def test_pictures_of_other_sizes_are_refused() -> None:
    result, a, b = shapes()
    for call in (Morph, align):
        with pytest.raises(ArgumentError, match="picture b is"):
            call(result, a, a)
        assert call(result, a, b) is not None


def test_an_alignment_of_equal_pictures_is_the_picture() -> None:
    a, b = noise((48, 64), 0), np.zeros((48, 64, 3), np.uint8)
    found = align(identity(), a, b)
    assert np.abs(found.warped.astype(int) - a).max() <= 2
    assert np.abs(found.flow).max() < 0.01 and found.mask.min() > 0.9
    assert found.picture(b, "transparent").shape == (48, 64, 4)
    np.testing.assert_array_equal(found.picture(b), found.warped)
    assert np.abs(found.picture(b, "b").astype(int) - a).max() <= 30


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("loop", [True, False])
def test_animations_take_as_long_as_they_should(tmp_path: Path, suffix: str, loop: bool) -> None:
    frames = [np.full((20, 30, 3), value, np.uint8) for value in range(0, 240, 24)]
    write_animation(tmp_path / f"a{suffix}", frames, 12.5, loop)
    read, animation = cv2.imreadanimation(str(tmp_path / f"a{suffix}"))
    assert read and len(animation.frames) == 10 and sum(animation.durations) == 800
    assert (animation.loop_count == 0) == loop


def test_align_writes_picture_mask_and_flow(pair: tuple[Path, Path], tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a.png", "a.flo", "a.npy")]
    outputs = [part for name in names for part in ("-o", name)]
    done = run("align", *pair, *outputs, "--mask", tmp_path / "m.png", "--outside", "transparent", "--json")
    assert done.exit_code == 0, done.output
    facts = printed(done)
    assert (facts["width"], facts["height"]) == (90, 70) and len(facts["files"]) == 4
    picture = cv2.imread(str(names[0]), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED)
    assert picture is not None and mask is not None
    np.testing.assert_array_equal(picture[..., 3], mask)
    assert abs(mask.mean() / 255 - facts["confident"]) < 0.01
    flow = np.load(names[2])
    assert flow.shape == (70, 90, 2) and flow.dtype == np.float32
    np.testing.assert_array_equal(np.fromfile(names[1], "<f4")[3:].reshape(70, 90, 2), flow)


def test_morph_writes_films_and_animations(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a.mp4", "a.webp"):
        path = tmp_path / name
        done = run("morph", *pair, "-o", path, "--seconds", 0.5, "--longest", 48, "--json")
        assert done.exit_code == 0, done.output
        facts = printed(done)
        assert path.stat().st_size > 0 and facts["file"] == str(path)
        assert max(facts["width"], facts["height"]) == 48 and abs(facts["seconds"] - 0.5) < 0.05
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 12


def test_an_animated_picture_that_does_not_fit_into_memory_is_refused(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "morph.gif"
    options = ["--seconds", "60", "--fps", "120", "--longest", "480", "-o", str(output)]
    result = CliRunner().invoke(dcc, ["morph", *map(str, pair), *options])
    assert isinstance(result.exception, UsageError) and "are too many for .gif" in str(result.exception)
    assert not output.exists()


def test_the_page_runs_in_order() -> None:
    page = Path("docs/align-and-morph.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    for block in blocks:
        exec(block, found)
    assert len(blocks) == 3 and len(found["frames"]) == 10
    assert found["warped"].shape == found["b"].shape and found["cutout"].shape[2] == 4


def test_match_draws_vectors_that_are_the_same_each_time(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = [tmp_path / name for name in ("a.svg", "b.svg", "a.pdf")]
    assert run("match", *pair, *[part for name in names for part in ("-o", name)]).exit_code == 0
    text = names[0].read_text()
    assert text == names[1].read_text() and "matches; colour: left to right in A" in text
    assert names[2].read_bytes().startswith(b"%PDF")
    done = run("match", *pair, "--draw", "grid", "-o", tmp_path / "c.pdf")
    assert isinstance(done.exception, UsageError) and "cannot be written as 'c.pdf'" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("align", "a.png", "-o", "c.png"), "name two pictures, A and B"),
        (("align", "a.png", "b.png", "-o", "c.txt"), "its suffix must be one of"),
        (("align", "a.png", "b.png", "-o", "c.png", "--mask", "c.png"), "two outputs are c.png"),
        (("align", "a.png", "b.png", "-o", "c.png", "--mask", "c.flo"), "cannot write the mask"),
        (("align", "a.png", "b.png", "-o", "c.jpg", "--outside", "transparent"), "needs a picture in"),
        (("align", "a.png", "b.png", "-o", "b.png"), "is also an input"),
        (("morph", "a.png", "b.png", "-o", "c.mov"), "use a name that ends in"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert isinstance(done.exception, UsageError) and message in str(done.exception)
