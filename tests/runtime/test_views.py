"""Matching several views: where views lie, how their matches become one, and that they find more."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dccnet.runtime import Matcher
from dccnet.runtime.arrays import Image
from dccnet.runtime.backend import Tensors
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ArgumentError, ImageError, UsageError
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.geometry import cell_pixels
from dccnet.runtime.images import read_image
from dccnet.runtime.journal import JOURNAL
from dccnet.runtime.score_windows import transfer_by_windows
from dccnet.runtime.views.choices import VIEWS
from dccnet.runtime.views.combining import Places, agreed, as_windows, combine
from dccnet.runtime.views.view import AS_IT_IS, MIRRORED, PAIRS, View
from dccnet.runtime.views.ways import Ways
from tests.helpers.animals import ANIMALS, flipped
from tests.helpers.commands import Cli

VIEW = st.builds(
    View,
    zoom=st.floats(0.6, 1.6),
    degrees=st.sampled_from([0.0, 12.0, -30.0, 90.0]),
    mirrored=st.booleans(),
)
GRIDS = st.tuples(st.integers(2, 9), st.integers(2, 9))


@pytest.fixture(scope="module")
def several(matcher: Matcher, pair: tuple[Image, Image]) -> Correspondences:
    return matcher.match(*pair, views=3)


@settings(deadline=None, max_examples=60)
@given(
    view=VIEW,
    place=st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    size=st.sampled_from([(120, 120), (90, 200), (301, 150)]),
    frame=st.sampled_from([(96, 96), (97, 97), (64, 128), (128, 80)]),
    dtype=st.sampled_from(["uint8", "float32"]),
)
def test_things_lie_in_a_view_where_it_says(
    view: View, place: tuple[float, float], size: tuple[int, int], frame: tuple[int, int], dtype: str
) -> None:
    """The middle of a soft spot, measured in the view's frame."""
    # A grid of the frame's own size has a cell for each pixel.
    expected = view.places(np.array(place) * [frame[1] - 1, frame[0] - 1], frame, frame)
    room = 3.5 * view.zoom * max(frame) / 40  # the whole spot must be seen
    assume((expected > room).all() and (expected < np.array(frame[::-1]) - 1 - room).all())
    at = np.array(place) * [size[1] - 1, size[0] - 1]
    pixels = cell_pixels(size, size)
    spot = 250 * np.exp(-(((pixels - at) / (np.array(size[::-1]) / 40 * 2**0.5)) ** 2).sum(axis=-1))
    image = np.repeat(spot.astype(np.uint8)[..., None], 3, axis=2)
    seen = view.frame(image, FrameFormat(frame, dtype))
    assert seen.shape == (*frame, 3) and seen.dtype == dtype
    weights = seen[..., 0].astype(float)
    middle = np.array([(weights * axis).sum() for axis in np.moveaxis(cell_pixels(frame, frame), -1, 0)])
    np.testing.assert_allclose(middle / weights.sum(), expected, atol=0.35)


@given(view=VIEW, frame=st.sampled_from([(96, 96), (64, 128)]), grid=GRIDS)
def test_places_lead_back(view: View, frame: tuple[int, int], grid: tuple[int, int]) -> None:
    cells = cell_pixels(grid, grid).reshape(-1, 2)
    there = view.places(cells, frame, grid)
    np.testing.assert_allclose(view.places_back(there, frame, grid), cells, atol=1e-9)
    assert view.turned_over.turned_over == view
    turned = view.turned_over.places(cells * [-1, 1] + [grid[1] - 1, 0], frame, grid)
    np.testing.assert_allclose(turned, there, atol=1e-9)  # a view of the mirrored picture


def test_a_picture_as_it_is_has_the_frame_of_the_network(pair: tuple[Image, Image]) -> None:
    frames = FrameFormat((64, 96), "uint8")
    np.testing.assert_array_equal(AS_IT_IS.frame(pair[0], frames), frames.of(pair[0]))
    np.testing.assert_array_equal(MIRRORED.frame(pair[0], frames), frames.of(flipped(pair[0])))


def test_views_of_both_pictures_can_be_swapped() -> None:
    assert tuple(PAIRS) == VIEWS
    for count, pairs in PAIRS.items():
        assert len(set(pairs)) == count
        assert pairs[0] == (AS_IT_IS, AS_IT_IS)  # whose fine features refine matches
        assert {(b, a) for a, b in pairs} == set(pairs)


@given(seed=st.integers(0, 1000), grid=GRIDS, other=st.tuples(st.integers(3, 9), st.integers(3, 9)))
def test_windows_move_cells_to_their_points(
    seed: int, grid: tuple[int, int], other: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform(0, 1, (grid[0] * grid[1], 2)) * [other[1] - 1, other[0] - 1]
    scores = random.uniform(0.01, 1, len(points))
    index, found, windows = as_windows(points, scores, grid, other)
    moved = transfer_by_windows(cell_pixels(grid, grid).reshape(-1, 2), index, windows, other)
    np.testing.assert_allclose(moved, points, atol=1e-4)
    np.testing.assert_allclose(found.ravel(), scores, rtol=1e-6)
    nearest = np.stack([index.ravel() % other[1], index.ravel() // other[1]], axis=1)
    assert np.abs(nearest - points).max() <= 0.5 + 1e-9


def test_a_cell_lies_where_supported_views_agree() -> None:
    points = np.array([[[2.0, 3.0], [2.4, 3.0], [9.0, 9.0]]])
    scores = np.array([[0.2, 0.4, 0.9]])
    together, score = agreed(Places(points, np.array([[0.5, 0.5, 0.5]]), scores))
    np.testing.assert_allclose(together[0], [2.2, 3.0], atol=0.02)  # two against one
    assert 0.28 < score[0] < 0.32
    alone, _ = agreed(Places(points, np.array([[0.3, 0.3, 0.9]]), scores))
    np.testing.assert_allclose(alone[0], [9.0, 9.0], atol=1e-3)  # one that has much more support
    nothing, _ = agreed(Places(points, np.zeros((1, 3)), scores))
    np.testing.assert_allclose(nothing[0], [2.2, 3.0], atol=0.02)


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, -0.5)])
def test_matches_of_all_views_lead_to_the_same_places(views: int, shift: tuple[float, float]) -> None:
    """B is A, moved by ``shift`` cells. Every view is matched without an error; the grid is not square."""
    grid, frame = (14, 20), (96, 200)
    cells = cell_pixels(grid, grid).reshape(-1, 2)
    scores = np.full(len(cells), 0.5)

    def found(view_a: View, view_b: View) -> Correspondences:
        to_b = view_b.places(view_a.places_back(cells, frame, grid) + shift, frame, grid)
        to_a = view_a.places(view_b.places_back(cells, frame, grid) - shift, frame, grid)
        (index_a, score_a, window_a), (index_b, score_b, window_b) = (
            as_windows(places, scores, grid, grid) for places in (to_b, to_a)
        )
        return Correspondences(
            (140, 200), (140, 200), index_a, score_a, index_b, score_b, window_a=window_a, window_b=window_b
        )

    pairs = PAIRS[views]
    together = combine([found(*of_pair) for of_pair in pairs], pairs, frame)
    assert together.window_a is not None and together.window_b is not None
    inner = ((cells >= 3) & (cells <= [grid[1] - 4, grid[0] - 4])).all(axis=1)
    moved = transfer_by_windows(cells, together.index_a, together.window_a, grid)
    np.testing.assert_allclose(moved[inner], (cells + shift)[inner], atol=0.05)
    back = transfer_by_windows(cells, together.index_b, together.window_b, grid)
    np.testing.assert_allclose(back[inner], (cells - shift)[inner], atol=0.05)


def test_one_view_is_the_match_as_it_is(matcher: Matcher, pair: tuple[Image, Image]) -> None:
    plain, one = matcher.match(*pair), matcher.match(*pair, views=1)
    np.testing.assert_array_equal(plain.index_a, one.index_a)
    np.testing.assert_array_equal(plain.window_b, one.window_b)  # type: ignore[arg-type]


@pytest.mark.parametrize("zoom", [0.55, 1.6])
def test_several_views_find_things_of_another_size(matcher: Matcher, zoom: float) -> None:
    """A picture and the same one zoomed, whose true matches are known."""
    image = read_image(ANIMALS / "raccoon.jpg")
    height, width = image.shape[:2]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = np.hstack([zoom * np.eye(2), ((1 - zoom) * middle)[:, None]])
    zoomed = cv2.warpAffine(image, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)
    points = middle + (np.random.default_rng(0).uniform(-0.24, 0.24, (200, 2)) * [width, height])
    truth = middle + zoom * (points - middle)
    errors = {
        views: np.linalg.norm(
            matcher.match(image, zoomed, views=views).transfer(points, "a", "subcell") - truth, axis=1
        )
        for views in VIEWS
    }
    within = {views: (error < 0.03 * max(height, width)).mean() for views, error in errors.items()}
    assert min(within[3], within[8]) > within[1] + 0.05, within


def test_swapping_both_pictures_swaps_the_matches(
    matcher: Matcher, pair: tuple[Image, Image], several: Correspondences
) -> None:
    swapped = matcher.match(*pair[::-1], views=3)
    assert np.mean(swapped.index_a == several.index_b) > 0.99
    assert np.mean(swapped.index_b == several.index_a) > 0.99


def test_a_mirrored_picture_is_matched_in_as_many_views(
    matcher: Matcher, pair: tuple[Image, Image], several: Correspondences
) -> None:
    turned = matcher.match(flipped(pair[0]), pair[1], mirror=True, views=3)
    assert turned.mirrored
    points = np.random.default_rng(0).uniform(0, 1, (50, 2)) * [pair[0].shape[1] - 1, pair[0].shape[0] - 1]
    moved = turned.transfer(points * [-1, 1] + [pair[0].shape[1] - 1, 0], "a")
    np.testing.assert_allclose(moved, several.transfer(points, "a"), atol=1e-6)


def test_the_result_has_all_that_a_match_has(several: Correspondences, tmp_path: Path) -> None:
    assert several.rule == "refined" and several.fine_a is not None
    assert several.confidence_a is not None and np.isfinite(several.confidence_a).all()
    assert ((several.score_a > 0) & (several.score_a <= 1)).all()
    assert len(several.mutual()) > 20
    several.save(tmp_path / "found.npz")
    assert np.load(tmp_path / "found.npz")["index_a"].shape == several.index_a.shape


def test_heat_maps_are_those_of_single_views(several: Correspondences) -> None:
    maps = np.zeros((22, 22, 22, 22), np.float32)
    one = dataclasses.replace(several, heatmap_a=maps, heatmap_b=maps, support=0.25)
    other = dataclasses.replace(one, support=0.75)
    together = combine([one, other], [(AS_IT_IS, AS_IT_IS), (AS_IT_IS, MIRRORED)], (352, 352))
    assert together.heatmap_a is None and together.heatmap_b is None
    assert together.support == 0.5


def test_results_without_windows_are_refused(several: Correspondences) -> None:
    bare = dataclasses.replace(several, window_a=None, window_b=None)
    with pytest.raises(UsageError, match="export it again"):
        combine([bare, bare], PAIRS[3][:2], (352, 352))


def test_many_pairs_and_kept_features_give_the_same(pair: tuple[Image, Image]) -> None:
    with Matcher.open(threads=1, mirror="auto", views=3) as matcher:
        frames: list[bytes] = []
        encode = matcher.backend.encode

        def counted(frame: Any, stream: int | None = None) -> Tensors:
            frames.append(frame.tobytes())
            return encode(frame, stream)

        matcher.backend.encode = counted  # type: ignore[method-assign]
        wanted = matcher.match(*pair)
        assert len(frames) == 2 * 2 + 2  # both ways round of A, as it is and nearer
        frames.clear()
        first, back, again = matcher.match_many([pair, pair[::-1], pair])
        assert len(frames) == len(set(frames)) == 8
        kept = matcher.match(matcher.encode(pair[0]), matcher.encode(pair[1], mirrored=False))
        for found in (first, again, kept):
            np.testing.assert_array_equal(found.index_a, wanted.index_a)
            np.testing.assert_array_equal(found.window_b, wanted.window_b)
        assert back.size_a == wanted.size_b


@pytest.mark.parametrize("batch", [1, 2])
def test_frames_of_a_video_are_matched_in_several_views(
    pair: tuple[Image, Image], several: Correspondences, batch: int
) -> None:
    with Matcher.open(threads=1, views=3) as matcher:
        for reference in (pair[0], "previous"):
            with matcher.stream([pair[0], pair[1]], reference, batch=batch) as frames:
                *_, last = frames
            assert np.mean(last.correspondences.index_a == several.index_a) > 0.99
            assert last.correspondences.window_a is not None


def test_features_lack_what_they_were_not_encoded_for(matcher: Matcher, pair: tuple[Image, Image]) -> None:
    plain, whole = matcher.encode(pair[0]), matcher.encode(pair[0], mirrored=True, views=8)
    assert whole.nbytes == 8 * plain.nbytes  # five views, three of these also of the mirror image
    assert all(
        whole.has(Ways(mirror, views).source) for mirror, views in itertools.product((True, False), VIEWS)
    )
    for a, b in ((plain, pair[1]), (whole, matcher.encode(pair[1]))):
        with pytest.raises(UsageError, match="encode both pictures with its number of views"):
            matcher.match(a, b, views=8)
    found = matcher.match(whole, pair[1], views=3)
    np.testing.assert_array_equal(found.index_a, matcher.match(*pair, views=3).index_a)


@pytest.mark.parametrize("value", [0, 2, "3", True, 3.0, None])
def test_other_numbers_of_views_are_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match="views is 1, 3 or 8"):
        Matcher.open(views=value)


class _OnGpu:
    """As far as it is looked at here: what says that it is in GPU memory."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": (4, 4, 3), "typestr": "|u1", "data": (0, False), "version": 3}


def test_pictures_in_gpu_memory_have_one_view(matcher: Matcher) -> None:
    for asked in ({"views": 3}, {"mirrored": True}):
        with pytest.raises(ImageError, match="copy it to the host for other views"):
            matcher.encode(_OnGpu(), **asked)  # type: ignore[arg-type]


def test_the_commands_match_several_views(dcc: Cli, tmp_path: Path, several: Correspondences) -> None:
    a, b = ANIMALS / "cat.jpg", ANIMALS / "raccoon.jpg"
    result = dcc("match", a, b, "--views", "3", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    np.testing.assert_allclose(found["a_to_b"]["points_b"], several.matches().points_b, atol=0.5)
    refused = dcc("match", a, b, "--views", "2")
    assert refused.returncode == 2 and "'2' is not one of '1', '3', '8'" in refused.stderr
    result = dcc("align", a, b, "--views", "3", "-o", tmp_path / "aligned.jpg")
    assert result.returncode == 0, result.stderr


def test_lists_of_pairs_are_matched_in_several_views(
    dcc: Cli, tmp_path: Path, several: Correspondences
) -> None:
    for name in ("cat.jpg", "raccoon.jpg"):
        (tmp_path / name).write_bytes((ANIMALS / name).read_bytes())
    (tmp_path / "pairs.csv").write_text("source,target\ncat.jpg,raccoon.jpg\nraccoon.jpg,cat.jpg\n")
    arguments = ("match", "--pairs", tmp_path / "pairs.csv", "-o", tmp_path / "out", "--format", "jsonl")
    result = dcc(*arguments, "--views", "3", "--threads", "1")
    assert result.returncode == 0, result.stderr
    first, _ = (tmp_path / "out" / "matches" / "part-0000000.jsonl").read_text().splitlines()
    np.testing.assert_allclose(json.loads(first)["points_b"], several.mutual().points_b, atol=1e-2)
    again = dcc(*arguments)  # not the same run
    assert again.returncode == 2 and "--restart" in again.stderr
    plain = dcc(*arguments, "--restart")
    assert plain.returncode == 0, plain.stderr
    run, *_ = (tmp_path / "out" / JOURNAL).read_text().splitlines()
    assert "views" not in run  # so that runs of versions without views continue
