"""Matching A mirrored: the same as matching a mirrored picture, with positions of A as it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dccnet.runtime import Matcher, mirroring
from dccnet.runtime.alignment.morph import Morph, MorphSettings
from dccnet.runtime.arrays import Image
from dccnet.runtime.backend import Tensors
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ArgumentError, UsageError
from dccnet.runtime.images import write_image
from dccnet.runtime.mirroring import mirrored_back
from dccnet.runtime.views.choices import Mirror
from tests.helpers.animals import ANIMALS, flipped
from tests.helpers.commands import Cli


@pytest.fixture(scope="module")
def plain(matcher: Matcher, pair: tuple[Image, Image]) -> Correspondences:
    return matcher.match(*pair)


@pytest.fixture(scope="module")
def turned(matcher: Matcher, pair: tuple[Image, Image]) -> Correspondences:
    """The same pair, whose A was given mirrored, and is matched mirrored: as it was."""
    return matcher.match(flipped(pair[0]), pair[1], mirror=True)


def turn(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(points * [-1, 1] + [size[1] - 1, 0])


@pytest.mark.parametrize("rule", ["cells", "subcell", "refined"])
def test_points_move_as_in_the_mirrored_picture(
    rule: str, plain: Correspondences, turned: Correspondences
) -> None:
    size, random = plain.size_a, np.random.default_rng(0)
    points = random.uniform(0, 1, (50, 2)) * [size[1] - 1, size[0] - 1]
    moved = turned.transfer(turn(points, size), "a", rule)
    np.testing.assert_allclose(moved, plain.transfer(points, "a", rule), atol=1e-6)
    back = random.uniform(0, 1, (50, 2)) * [plain.size_b[1] - 1, plain.size_b[0] - 1]
    moved = turned.transfer(back, "b", rule)
    np.testing.assert_allclose(turn(moved, size), plain.transfer(back, "b", rule), atol=1e-6)


def test_confidence_and_mutual_matches_are_those_of_the_mirrored_picture(
    plain: Correspondences, turned: Correspondences
) -> None:
    assert turned.mirrored and not plain.mirrored
    assert plain.confidence_a is not None and turned.confidence_a is not None
    np.testing.assert_allclose(turned.confidence_a[:, ::-1], plain.confidence_a, atol=1e-6)
    wanted, found = plain.mutual(), turned.mutual()
    order = np.lexsort((found.points_b[:, 0], found.points_b[:, 1]))
    expected = np.lexsort((wanted.points_b[:, 0], wanted.points_b[:, 1]))
    np.testing.assert_allclose(
        turn(found.points_a, plain.size_a)[order], wanted.points_a[expected], atol=1e-6
    )


def test_mirroring_twice_changes_nothing(plain: Correspondences) -> None:
    again = mirrored_back(mirrored_back(plain))
    assert again.mirrored == plain.mirrored
    np.testing.assert_array_equal(again.index_b, plain.index_b)
    np.testing.assert_array_equal(again.window_b, plain.window_b)
    points = np.array([[10.0, 20.0], [100.0, 50.0]])
    np.testing.assert_allclose(again.transfer(points, "b"), plain.transfer(points, "b"), atol=1e-9)


def test_a_smooth_warp_does_not_fold_a_mirrored_picture(
    pair: tuple[Image, Image], plain: Correspondences, turned: Correspondences
) -> None:
    wanted, found = plain.warp(pair[0]), turned.warp(flipped(pair[0]))
    assert np.mean(np.abs(wanted.astype(int) - found) > 2) < 0.001  # positions are rounded elsewhere


def test_a_morph_shows_a_mirrored(
    pair: tuple[Image, Image], plain: Correspondences, turned: Correspondences
) -> None:
    settings = MorphSettings(longest=120)
    wanted = Morph(plain, *pair, settings).at(0.3)
    found = Morph(turned, flipped(pair[0]), pair[1], settings).at(0.3)
    assert np.mean(np.abs(wanted.astype(int) - found) > 2) < 0.001


def test_auto_takes_what_is_more_confident(
    matcher: Matcher, pair: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "CLEARLY", 0.1)  # these two animals gain 0.27
    assert not matcher.match(*pair, mirror="auto").mirrored
    assert matcher.match(flipped(pair[0]), pair[1], mirror="auto").mirrored


def test_auto_mirrors_only_for_a_clear_gain(plain: Correspondences) -> None:
    def without_confidence(factor: float) -> Correspondences:
        scores = plain.score_a * np.float32(factor), plain.score_b * np.float32(factor)
        return dataclasses.replace(plain, score_a=scores[0], score_b=scores[1], confidence_model=None)

    before = without_confidence(1)
    for factor, better in ((0.5, False), (1.1, False), (1.2, True)):
        after = without_confidence(factor)
        assert (mirroring.more_confident(before, after) is after) == better


def test_support_by_local_features_decides_before_confidence(plain: Correspondences) -> None:
    before = dataclasses.replace(plain, support=0.3)
    for support, better in ((0.2, False), (0.34, False), (0.36, True)):
        after = dataclasses.replace(plain, support=support)
        assert (mirroring.more_confident(before, after) is after) == better
    confident = dataclasses.replace(plain, support=None)
    assert mirroring.more_confident(before, confident) is before  # no gain in confidence


def test_a_matcher_that_mirrors_does_so_everywhere(
    pair: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "CLEARLY", 0.1)
    with Matcher.open(threads=1, mirror="auto") as matcher:
        other = flipped(pair[0])
        assert matcher.match(matcher.encode(other), pair[1]).mirrored
        first, second = matcher.match_many([(other, pair[1]), pair])
        assert first.mirrored and not second.mirrored
        with pytest.raises(UsageError, match="video"):
            matcher.stream([pair[0]])


def test_only_sources_are_encoded_mirrored(
    pair: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Matcher.open(threads=1, mirror=True) as matcher:
        frames: list[bytes] = []
        encode = matcher.backend.encode

        def counted(frame: Any, stream: int | None = None) -> Tensors:
            frames.append(frame.tobytes())
            return encode(frame, stream)

        monkeypatch.setattr(matcher.backend, "encode", counted)
        first, again, back = matcher.match_many([pair, pair, pair[::-1]])
        assert len(frames) == len(set(frames)) == 4  # B's mirror image when B becomes a source
        np.testing.assert_array_equal(first.index_b, again.index_b)
        np.testing.assert_array_equal(back.index_b, matcher.match(*pair[::-1]).index_b)
        np.testing.assert_array_equal(first.index_b, matcher.match(*pair).index_b)


@pytest.mark.parametrize("value", ["yes", 1, None, "AUTO"])
def test_other_values_are_refused(matcher: Matcher, pair: tuple[Image, Image], value: Mirror) -> None:
    with pytest.raises(ArgumentError, match="mirror is True, False or 'auto'"):
        Matcher.open(mirror=value)


def test_features_without_a_mirror_image_are_refused(matcher: Matcher, pair: tuple[Image, Image]) -> None:
    with pytest.raises(UsageError, match="encode A with mirrored=True"):
        matcher.match(matcher.encode(pair[0]), pair[1], mirror="auto")


def test_the_command_says_when_it_mirrored(dcc: Cli, pair: tuple[Image, Image], tmp_path: Path) -> None:
    write_image(tmp_path / "other.png", flipped(pair[0]))
    result = dcc("match", tmp_path / "other.png", ANIMALS / "raccoon.jpg", "--mirror", "yes", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["mirrored"] is True
    assert "A was matched mirrored" in result.stderr
    refused = dcc("match", "--video", "x.mp4", "--reference", "frame:0", "--mirror", "yes")
    assert refused.returncode == 2 and "remove --mirror" in refused.stderr
