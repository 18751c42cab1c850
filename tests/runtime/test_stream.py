"""Matcher.stream: its frames, their references, and what is left when it ends."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.runtime import Matcher, Reference
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError, ImageError, UsageError, VideoError
from dccnet.runtime.images import write_image
from dccnet.runtime.match_many import match_many
from dccnet.runtime.video.captures import DamagedError, ReconnectedError
from dccnet.runtime.video.sources import open_source
from tests.helpers.streams import (
    BatchingIdentityBackend,
    IdentityBackend,
    LockstepCamera,
    NetworkCamera,
    descriptors,
    grey,
    greys,
    matcher_of,
    stage_threads,
)


def level(image: Image) -> int:
    return int(image[0, 0, 0])


# Frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("backend", [IdentityBackend, BatchingIdentityBackend])
def test_every_frame_in_order(batch: int, backend: type[IdentityBackend]) -> None:
    used = backend()
    results = list(matcher_of(used).stream(greys(100), grey(7), batch=batch))
    assert [result.index for result in results] == list(range(100))
    assert [level(result.image) for result in results] == list(range(100))
    assert used.encoded == [7, *range(100)]
    if backend is BatchingIdentityBackend and batch == 64:
        assert used.runs == 1 + 2 + 2  # the reference; 64 frames and 36


def test_a_streamed_file_matches_as_its_single_frames_do(
    bundle: Bundle, video: Path, photos: list[Image]
) -> None:
    matcher = Matcher.open(bundle)
    features = matcher.encode(photos[0])
    frames = list(open_source(video).frames)
    for batch in (1, 5):
        results = list(matcher.stream(video, photos[0], batch=batch))
        assert len(results) == len(frames)
        for result, frame in zip(results, frames, strict=True):
            alone = matcher.match(features, frame)
            assert np.array_equal(result.correspondences.index_a, alone.index_a)
            assert np.allclose(result.correspondences.score_b, alone.score_b, atol=1e-6)
        assert results[3].time_s == 3 / 25
        assert {"decode", "resize", "encode", "match"} <= set(results[0].timings)


def test_match_many_encodes_each_picture_once(tmp_path: Path) -> None:
    backend = BatchingIdentityBackend()
    for i in range(4):
        write_image(tmp_path / f"{i}.png", grey(10 * i))
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    array = grey(200)
    pairs = [*itertools.permutations(paths, 2), (array, paths[0]), (paths[1], array)]
    results = list(matcher_of(backend).match_many(pairs, batch=5))
    assert sorted(backend.encoded) == [0, 10, 20, 30, 200]
    alone = [matcher_of(IdentityBackend()).match(*map(_read, pair)) for pair in pairs]
    assert [r.score_a.item(0) for r in results] == [r.score_a.item(0) for r in alone]


def test_pairs_of_an_endless_list_are_taken_as_they_are_needed(tmp_path: Path) -> None:
    backend = IdentityBackend()
    taken = []

    def endless() -> Iterator[tuple[Image, Image]]:
        for i in itertools.count():
            taken.append(i)
            yield grey(i % 250), grey((i + 1) % 250)  # arrays that are freed, and their places used again

    # Less than one picture's features fit: nothing is kept, and nothing is taken for something else.
    results = list(itertools.islice(matcher_of(backend).match_many(endless(), cache_gb=0), 300))
    assert len(taken) == 300
    alone = [matcher_of(IdentityBackend()).match(grey(i % 250), grey((i + 1) % 250)) for i in range(300)]
    assert [r.score_a.item(0) for r in results] == [r.score_a.item(0) for r in alone]


def test_features_of_the_pictures_used_last_are_kept() -> None:
    backend = IdentityBackend()
    pictures = [grey(i) for i in range(4)]
    tensors = matcher_of(IdentityBackend()).encode(pictures[0]).tensors
    size = pictures[0].nbytes + sum(np.asarray(t).nbytes for t in tensors.values())
    order = [(0, 1), (0, 2), (0, 3), (0, 1)]  # 0 is always among the last two
    pairs = [(pictures[a], pictures[b]) for a, b in order]
    assert len(list(match_many(matcher_of(backend), pairs, cache_bytes=2 * size))) == 4
    assert sorted(backend.encoded) == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_missing_file_does_not_end_the_others(batch: int, tmp_path: Path) -> None:
    for i in range(3):
        write_image(tmp_path / f"{i}.png", grey(i))
    paths = [tmp_path / f"{i}.png" for i in (0, 1, 2, 9)]
    pairs = [(paths[0], paths[1]), (paths[3], paths[0]), (paths[1], paths[3]), (paths[1], paths[2])]
    errors: list[tuple[int, str]] = []
    matcher = matcher_of(BatchingIdentityBackend())
    results = list(
        matcher.match_many(pairs, batch=batch, on_error=lambda n, error: errors.append((n, str(error))))
    )
    assert len(results) == 2
    assert [number for number, _ in errors] == [1, 2] and all(
        "9.png does not exist" in e for _, e in errors
    )
    with pytest.raises(ImageError, match=r"9\.png does not exist"):
        list(matcher.match_many(pairs, batch=batch))


def _read(picture: Path | Image) -> Image:
    return np.asarray(cv2.imread(str(picture)), np.uint8) if isinstance(picture, Path) else picture


def test_pairs_match_in_a_batch_as_they_do_alone(bundle: Bundle, photos: list[Image]) -> None:
    matcher = Matcher.open(bundle)
    pairs = list(itertools.combinations(photos, 2))
    for (a, b), result in zip(pairs, matcher.match_many(pairs, batch=2), strict=True):
        alone = matcher.match(a, b)
        assert result.size_b == alone.size_b and np.array_equal(result.index_b, alone.index_b)
        assert np.allclose(result.score_a, alone.score_a, atol=1e-6)


# References ------------------------------------------------------------------------------------


def test_each_frame_gets_the_best_of_several_references() -> None:
    backend = IdentityBackend()
    stream = matcher_of(backend).stream([grey(x) for x in (10, 90, 60, 95)], [grey(0), grey(100)])
    assert [level(result.reference.image) for result in stream] == [0, 100, 100, 100]
    assert backend.encoded[:2] == [0, 100] and len(backend.encoded) == 6


def test_a_reference_can_be_the_frame_before_or_a_frame_of_the_source(video: Path) -> None:
    matcher = matcher_of(IdentityBackend())
    results = list(matcher.stream(greys(4), "previous"))
    assert [level(result.reference.image) for result in results] == [0, 0, 1, 2]
    assert [r.reference.name for r in results] == ["frame:0", "frame:0", "frame:1", "frame:2"]
    first = list(matcher.stream(greys(4), "frame:0"))
    assert [level(result.image) for result in first] == [0, 1, 2, 3]
    assert {level(result.reference.image) for result in first} == {0}
    third = list(matcher.stream(video, "frame:3"))
    assert len(third) == 12 and np.array_equal(third[3].image, third[0].reference.image)
    for source, number, message in ((video, 12, "fewer than 13 frames"), (greys(4), 3, "needs a file")):
        with pytest.raises(UsageError, match=message):
            matcher.stream(source, f"frame:{number}")
    with pytest.raises(VideoError, match="no frames"):
        matcher.stream([], "frame:0")


@pytest.mark.parametrize("reference", ["frame:0", "previous"])
def test_notes_before_the_first_frame_are_no_reference(reference: str) -> None:
    """A damaged beginning, and a camera that breaks off at once."""
    notes = [DamagedError("damaged"), ReconnectedError("opened again"), DamagedError("damaged again")]
    heard: list[str] = []
    stream = matcher_of(IdentityBackend()).stream([*notes, *greys(3)], reference, on_note=heard.append)
    results = list(stream)
    assert [(result.index, level(result.image)) for result in results] == [(0, 0), (1, 1), (2, 2)]
    assert results[0].reference.name == "frame:0" and level(results[0].reference.image) == 0
    assert heard == ["damaged", "opened again"]
    assert (stream.stats.damaged, stream.stats.reconnected, stream.stats.unreadable) == (2, 1, 0)
    with pytest.raises(VideoError, match="the frames has no frames"):
        matcher_of(IdentityBackend()).stream(notes, reference)


@pytest.mark.parametrize("wrong", [7, None, 1.5, [grey(0), 7], np.zeros((4, 4), np.uint8)])
def test_what_is_no_picture_is_no_reference(wrong: object) -> None:
    with pytest.raises(ImageError, match="a picture must"):
        matcher_of(IdentityBackend()).stream(greys(2), wrong)  # type: ignore[arg-type]


def test_a_reference_made_of_no_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="got int"):
        Reference(7, points=np.array([[0.0, 0.0]]))


def test_a_reference_can_be_a_picture_of_pil() -> None:
    pil = pytest.importorskip("PIL.Image")
    one = pil.fromarray(grey(7))
    for reference in (one, [one, grey(200)]):
        results = list(matcher_of(IdentityBackend()).stream([grey(7)], reference))
        assert level(results[0].reference.image) == 7


def test_a_reference_can_be_replaced_while_streaming() -> None:
    backend = IdentityBackend()
    stream = matcher_of(backend).stream(greys(100), grey(7))
    seen = []
    for result in stream:
        seen.append(level(result.reference.image))
        if len(seen) == 1:
            stream.replace_reference(grey(9))
    assert seen == sorted(seen) and seen[0] == 7 and seen[-1] == 9 and len(seen) == 100
    with pytest.raises(UsageError, match="no reference to replace"):
        matcher_of(backend).stream(greys(2), "previous").replace_reference(grey(0))


def test_points_mask_and_boxes_must_fit_their_picture() -> None:
    for wrong, message in (
        ({"points": np.array([[60.0, 3.0]])}, "the point 60,3 lies outside the 60x48 picture a"),
        ({"points": np.array([[1.0, 3.0]]), "labels": ("x", "y")}, "2 labels for 1 points"),
        ({"mask": np.zeros((60, 48), np.uint8)}, "the mask is 48x60 and does not fit the 60x48 picture a"),
        ({"boxes": np.array([[50.0, 0, 20, 20]])}, "the box 50,0,20,20"),
    ):
        with pytest.raises(UsageError, match=message):
            Reference(grey(0), "a", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give each its own"):
        matcher_of(IdentityBackend()).stream(greys(2), [grey(0), grey(1)], points=[[1, 1]])


# Live ------------------------------------------------------------------------------------------


def test_a_camera_three_times_as_fast_as_the_network() -> None:
    """Time is counted in frames, not in seconds: three arrive while one is matched."""
    camera = LockstepCamera(ratio=3, count=90)
    stream = matcher_of(camera).stream(camera.frames(), grey(0), live=True)
    seen = []
    for result in stream:
        seen.append(result.index)
        assert camera.arrived - 1 - result.index <= 2 * camera.ratio  # arrive while two frames are matched
    assert seen == sorted(set(seen)) and 29 <= len(seen) <= 31
    assert stream.stats.dropped == 90 - len(seen)
    assert not stage_threads()


def test_a_source_that_stalls_or_fails_ends_in_one_sentence_after_its_frames() -> None:
    gone = threading.Event()

    def two(then_wait: bool) -> Iterator[Image]:
        yield grey(1)
        yield grey(2)
        if then_wait:
            gone.wait(30)
        else:
            raise VideoError("the cable is out")

    matcher = matcher_of(IdentityBackend())
    for waits, message in ((True, "gave no frame for 0.2 s"), (False, "the cable is out")):
        seen = []
        with pytest.raises(VideoError, match=message):
            for result in matcher.stream(two(waits), grey(0), stall_s=0.2):
                seen.append(level(result.image))
                if len(seen) == 2:
                    threading.Timer(0.5, gone.set).start()
        assert seen == [1, 2]
    assert not stage_threads()


# What is left ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["exhausted", "broken", "raised", "closed", "never started"])
@pytest.mark.parametrize("reference", ["frame:0", "previous"])
def test_no_thread_and_no_descriptor_is_left(video: Path, ending: str, reference: str) -> None:
    matcher = matcher_of(IdentityBackend())
    list(matcher.stream(video))  # OpenCV opens some descriptors only once
    before = descriptors()

    def run() -> None:
        stream = matcher.stream(video, reference)
        if ending == "exhausted":
            assert len(list(stream)) == 12
        elif ending == "broken":
            for result in stream:
                if result.index == 2:
                    break
        elif ending == "raised":
            with pytest.raises(KeyError), stream:
                next(stream)
                raise KeyError
        elif ending == "closed":
            next(stream)
            stream.close()
            assert list(stream) == []

    run()
    gc.collect()
    assert not stage_threads()
    assert descriptors() == before


def test_a_callers_iterator_stays_open() -> None:
    frames = greys(100)
    with matcher_of(IdentityBackend()).stream(frames, grey(0)) as stream:
        next(stream)
    assert next(frames, None) is not None


def test_memory_does_not_grow_with_the_frames() -> None:
    stream = matcher_of(IdentityBackend()).stream(greys(600), grey(0), points=[[10, 10]])
    used = []
    tracemalloc.start()
    try:
        for result in stream:
            if result.index % 50 == 49:
                used.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # The minimum: at other moments some tens of frames, 8 kB each, are in progress.
    assert min(used[-3:]) < min(used[2:6]) + 50_000


# Bad frames ------------------------------------------------------------------------------------


def test_pictures_that_cannot_be_read_are_skipped_and_counted(tmp_path: Path) -> None:
    for i in range(6):
        write_image(tmp_path / f"{i}.png", grey(i, (48 + i, 60 - i)))  # each of another size
    (tmp_path / "2.png").write_text("no picture")
    notes: list[str] = []
    stream = matcher_of(IdentityBackend()).stream(tmp_path, on_note=notes.append)
    results = list(stream)
    assert [result.index for result in results] == [0, 1, 3, 4, 5]
    assert results[2].correspondences.size_b == (51, 57)
    assert stream.stats.unreadable == 1
    assert len(notes) == 1 and "2.png is not a picture" in notes[0]


def test_a_frame_that_is_not_a_picture_is_one_sentence() -> None:
    frames = [grey(0), grey(1), np.zeros((4, 4), np.uint8)]
    stream = matcher_of(IdentityBackend()).stream(frames, grey(0), batch=3)
    assert [next(stream).index for _ in range(2)] == [0, 1]
    with pytest.raises(ImageError, match="shape"):
        next(stream)
    assert not stage_threads()


def test_a_network_camera_is_live_and_its_end_is_an_error() -> None:
    """Through a real socket and FFmpeg. A matcher that is slower than the camera skips frames."""
    with NetworkCamera(frames=60, period_s=0.01) as camera:
        source = open_source(camera.address)
        assert source.live and source.count == 0
        every = []
        with pytest.raises(VideoError, match="broke off"):
            for frame in source.frames:
                every.append(level(frame))
        assert every == sorted(every) and len(every) >= 50  # FFmpeg uses some to detect the format

        stream = matcher_of(IdentityBackend()).stream(camera.address, grey(0))
        seen = []
        with pytest.raises(VideoError, match="broke off"):
            for result in stream:
                seen.append(level(result.image))
                time.sleep(0.03)
        assert seen == sorted(set(seen))
        assert stream.stats.dropped > 0
        assert 50 <= stream.stats.frames + stream.stats.dropped <= 60
    assert not stage_threads()


def test_sources_that_cannot_be_opened_are_one_sentence(tmp_path: Path) -> None:
    matcher = matcher_of(IdentityBackend())
    for source, message in (
        (99, "camera 99 cannot be opened"),
        ("99", "camera 99 cannot be opened"),
        ("http://127.0.0.1:9/x.mjpg", "is the address right"),
        (tmp_path / "absent.mp4", "does not exist"),
        (str(tmp_path / "*.png"), "no pictures"),
    ):
        with pytest.raises((VideoError, ImageError), match=message):
            matcher.stream(source, grey(0))
    with pytest.raises(UsageError, match="frame by frame"):
        matcher.stream(greys(3), grey(0), live=True, batch=2)
    with pytest.raises(UsageError, match="needs a reference"):
        matcher.stream(greys(3), [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": ""}, "name of the video is empty"),
        ({"stall_s": float("nan")}, "stall_s must be more than 0"),
        ({"stall_s": -1.0}, "stall_s must be more than 0"),
        ({"reconnect": -1}, "reconnect must be 0 or more"),
        ({"points": [[True, False]]}, "points must be numbers"),
    ],
)
def test_arguments_without_a_meaning_are_refused(
    arguments: dict[str, object], message: str, bundle: Bundle, photos: list[Image]
) -> None:
    matcher = Matcher.open(bundle, device="cpu")
    with pytest.raises(DccError, match=message):
        list(matcher.stream(**({"source": [photos[0]], "reference": photos[0]} | arguments)))  # type: ignore[arg-type]
