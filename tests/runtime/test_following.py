"""Points that follow the picture between frames, and return to trusted matches."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from dccnet.runtime import Propagation
from dccnet.runtime.arrays import Image, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import UsageError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.video.propagation.carrier import Carrier
from dccnet.runtime.video.propagation.following import SIDE, Follower
from dccnet.runtime.video.propagation.maps import CarriedPoints
from dccnet.runtime.video.references import Reference

GRID = (13, 17)
POINTS = np.array([[80.0, 60.0], [150.0, 120.0], [220.0, 90.0]])
STEP = np.array([3.3, -1.7])


def frame(number: int, scale: float = 1) -> Image:
    """A texture of 321×241 pixels that moves by ``STEP`` from frame to frame."""
    texture = np.random.default_rng(0).integers(0, 255, (80, 110, 3), np.uint8)
    texture = cv2.resize(texture, (440, 320), interpolation=cv2.INTER_CUBIC)
    move = np.float32([[1, 0, number * STEP[0] - 40], [0, 1, number * STEP[1] - 30]])
    moved = cv2.warpAffine(texture, move, (321, 241))
    return np.asarray(cv2.resize(moved, None, fx=scale, fy=scale), np.uint8)


def matched(points_b: Points, visible: bool) -> CarriedPoints:
    count = len(points_b)
    scores, seen = np.ones(count, np.float32), np.full(count, visible)
    return CarriedPoints(POINTS, points_b, scores, np.zeros(count), seen)


def test_points_follow_the_picture_where_matches_are_coarse_or_wrong() -> None:
    follower, reference = Follower(), object()
    follower.follow(matched(POINTS, True), frame(0), GRID, reference)
    for number in range(1, 6):
        truth = POINTS + number * STEP
        wrong = matched(truth + np.array([0, 70]), False)  # not visible: not believed
        coarse = matched(truth + np.array([9, 8]), True)  # half a cell away
        found = follower.follow(wrong if number % 2 else coarse, frame(number), GRID, reference)
        np.testing.assert_allclose(found.points_b, truth, atol=0.5)
        assert found.visible.all()


def test_a_visible_point_lies_inside_the_frame() -> None:
    follower, reference = Follower(), object()
    inner = np.array([[319.0, 60.0], [150.0, 120.0], [220.0, 90.0]])
    follower.follow(matched(inner, True), frame(0), GRID, reference)
    found = follower.follow(matched(inner, True), frame(1), GRID, reference)
    assert found.visible.all() and (found.points_b <= [320, 240]).all()


def test_a_visible_match_far_away_is_right() -> None:
    follower, reference = Follower(), object()
    follower.follow(matched(POINTS, True), frame(0), GRID, reference)
    away = POINTS + STEP
    away[1] += [0, 30]  # more than a cell
    found = follower.follow(matched(away, True), frame(1), GRID, reference)
    np.testing.assert_allclose(found.points_b[1], away[1])
    np.testing.assert_allclose(found.points_b[[0, 2]], away[[0, 2]], atol=0.5)


def test_a_point_that_is_lost_reappears_with_its_match() -> None:
    follower, reference = Follower(), object()
    follower.follow(matched(POINTS, True), frame(0), GRID, reference)
    dark = np.zeros_like(frame(0))
    assert not follower.follow(matched(POINTS, False), dark, GRID, reference).visible.any()
    truth = POINTS + 9 * STEP
    found = follower.follow(matched(truth, True), frame(9), GRID, reference)
    np.testing.assert_allclose(found.points_b, truth)
    assert found.visible.all()


def test_points_of_another_reference_or_size_start_from_their_matches() -> None:
    follower, reference = Follower(), object()
    follower.follow(matched(POINTS, True), frame(0), GRID, reference)
    elsewhere = POINTS + 5
    found = follower.follow(matched(elsewhere, False), frame(1), GRID, object())
    np.testing.assert_array_equal(found.points_b, elsewhere)
    follower.follow(matched(POINTS, True), frame(0), GRID, reference)
    found = follower.follow(matched(elsewhere, False), frame(1)[:200], GRID, reference)
    np.testing.assert_array_equal(found.points_b, elsewhere)


def test_large_frames_are_followed_at_the_measured_size() -> None:
    scale = 4.0
    assert max(frame(0, scale).shape) > 2 * SIDE
    follower, reference = Follower(), object()
    follower.follow(matched(POINTS * scale, True), frame(0, scale), GRID, reference)
    truth = (POINTS + STEP) * scale
    found = follower.follow(matched(truth + 40, False), frame(1, scale), GRID, reference)
    np.testing.assert_allclose(found.points_b, truth, atol=2.5)


def test_no_points_are_followed_nowhere() -> None:
    follower, reference, none = Follower(), object(), np.zeros((0, 2))
    empty = dataclasses.replace(matched(none, True), points_a=none)
    for number in range(2):
        assert len(follower.follow(empty, frame(number), GRID, reference)) == 0


def test_a_carrier_needs_frames_to_follow() -> None:
    index = np.arange(GRID[0] * GRID[1]).reshape(GRID)
    score = np.full(GRID, 0.9, np.float32)
    result = Correspondences((241, 321), (241, 321), index, score, index, score)
    reference = Reference(frame(0), points=POINTS)
    carrier = Carrier(Propagation(follow=True))
    for number in range(3):
        carried = carrier.carry(reference, result, number / 24, frame(number))
        assert carried is not None and carried.points is not None
    # The matches say that nothing moves; the picture says otherwise, by less than a cell.
    np.testing.assert_allclose(carried.points.points_b, POINTS + 2 * STEP, atol=0.5)
    with pytest.raises(UsageError, match="NumPy arrays"):
        carrier.carry(reference, result, 1.0)


def test_following_needs_a_kept_reference() -> None:
    with Matcher.open() as matcher, pytest.raises(UsageError, match="kept reference"):
        matcher.stream([frame(0)], "previous", points=POINTS, propagation=Propagation(follow=True))
