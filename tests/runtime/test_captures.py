"""Video files as cameras write them: interlaced, of variable rate, mirrored, trimmed, damaged, cut off."""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.calibration.frames import sample_frames
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError, VideoError
from dccnet.runtime.native_messages import listening
from dccnet.runtime.video.captures import DamagedError, live_frames
from dccnet.runtime.video.sources import open_source
from dccnet.runtime.video.writer import VideoWriter
from tests.helpers.commands import Cli
from tests.helpers.paths import DATA
from tests.helpers.streams import IdentityBackend, NetworkCamera, grey, matcher_of

VIDEOS = DATA / "videos"  # made by make.py there: frame i has the mean grey level 6 * i, and some noise


def write_video(path: Path, frames: int = 20, codec: str = "mp4v") -> Path:
    """Frame i has the grey level 10 * i; the left quarter is white, the upper quarter black."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
    for number in range(frames):
        frame = np.full((48, 64, 3), 10 * number, np.uint8)
        frame[:, :16] = 255
        frame[:12] = 0
        writer.write(frame)
    writer.release()
    return path


def read(path: Path) -> tuple[list[Image], list[float], list[int], list[str]]:
    """Frames, their times and indices, and what is said in place of others."""
    source = open_source(path)
    assert source.stamps is not None
    images, times, indices, said, index = [], [], [], [], 0
    with contextlib.closing(source.stamps):
        try:
            for frame in source.frames:
                if isinstance(frame, DccError):
                    said.append(str(frame))
                    index += not isinstance(frame, DamagedError)
                else:
                    images.append(frame)
                    times.append(source.stamps.time_s)
                    indices.append(index)
                    index += 1
        except VideoError as error:
            said.append(str(error))
    return images, times, indices, said


def level(image: Image) -> int:
    return round((float(image.mean()) - 5.5) / 6)


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.avi"])
def test_interlaced_video_is_right_or_refused(name: str) -> None:
    """OpenCV 4.13 to 5.0 return frames of uninitialised memory for it."""
    images, _, _, said = read(VIDEOS / name)
    if images:
        assert not said and [level(image) for image in images] == list(range(8))
    else:
        assert said == [
            f"{VIDEOS / name} cannot be decoded correctly by this OpenCV because it is interlaced: convert "
            f"it first, such as ffmpeg -i {name} -vf yadif converted.mp4"
        ]


def test_a_codec_that_opencv_lacks_is_named() -> None:
    images, _, _, said = read(VIDEOS / "av1.mp4")
    if not images:
        assert "its codec is AV1, which this OpenCV may lack" in said[0] and "-c:v libx264" in said[0]


def test_times_are_those_of_the_file() -> None:
    """A phone lowers its rate in the dark: frame number / mean rate would be wrong by half a second."""
    images, times, _, said = read(VIDEOS / "variable.mp4")
    assert len(images) == 12 and not said
    np.testing.assert_allclose(times, [0.04 * i for i in range(8)] + [0.28 + 0.2 * i for i in range(1, 5)])
    with matcher_of(IdentityBackend()).stream(VIDEOS / "variable.mp4", grey(0)) as stream:
        np.testing.assert_allclose([result.time_s for result in stream], times)


def test_files_without_time_stamps_have_the_rate(tmp_path: Path) -> None:
    for name, codec in (("a.avi", "MJPG"), ("a.mp4", "mp4v")):
        _, times, _, said = read(write_video(tmp_path / name, codec=codec))
        np.testing.assert_allclose(times, 0.04 * np.arange(20))
        assert not said


def patched(path: Path, kind: bytes, offset: int, value: bytes) -> Path:
    """The MP4 file with other bytes in the first box of a kind."""
    data = bytearray(path.read_bytes())
    place = data.index(kind) + 4 + offset
    data[place : place + len(value)] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "white", "black"),
    [
        ((1, 0, 0, 1), "left", "top"),
        ((-1, 0, 0, 1), "right", "top"),
        ((1, 0, 0, -1), "left", "bottom"),
        ((-1, 0, 0, -1), "right", "bottom"),
        ((0, 1, -1, 0), "top", "right"),
        ((0, 1, 1, 0), "top", "left"),
        ((0, -1, -1, 0), "bottom", "right"),
    ],
)
def test_frames_are_turned_and_mirrored_as_the_file_says(
    tmp_path: Path, matrix: tuple[int, ...], white: str, black: str
) -> None:
    """Mirrored video was turned upside down."""
    a, b, c, d = (value << 16 for value in matrix)
    packed = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    image = read(patched(write_video(tmp_path / "a.mp4"), b"tkhd", 40, packed))[0][10]
    column, row = slice(28, 36), slice(20, 28)
    edges = {
        "left": image[row, 3],
        "right": image[row, -3],
        "top": image[3, column],
        "bottom": image[-3, column],
    }
    assert edges[white].mean() > 200 and edges[black].mean() < 40


def test_a_clip_that_shows_a_part_of_its_frames_is_whole(tmp_path: Path) -> None:
    """As ``ffmpeg -ss -c copy`` and phones write it: the index has 20 frames, the edit list shows fewer."""
    path = patched(write_video(tmp_path / "a.mp4"), b"elst", 8, struct.pack(">I", 400))
    images, _, _, said = read(path)
    assert 9 <= len(images) <= 12 and not said


def test_uneven_times_do_not_make_a_video_truncated(tmp_path: Path) -> None:
    """OpenCV counts 28 frames in it, from its duration and rate: it was called truncated."""
    images, _, _, said = read(VIDEOS / "variable.webm")
    assert len(images) == 12 and not said
    data = (VIDEOS / "variable.webm").read_bytes()
    cut = tmp_path / "cut.webm"
    cut.write_bytes(data[: len(data) * 8 // 10])
    images, _, _, said = read(cut)
    assert 0 < len(images) < 12 and "is truncated" in said[-1]


def test_a_video_cut_before_its_first_frame_is_truncated(tmp_path: Path) -> None:
    cut = tmp_path / "cut.webm"
    cut.write_bytes((VIDEOS / "variable.webm").read_bytes()[:700])
    with pytest.raises(VideoError, match="truncated"):
        list(open_source(cut).frames)


def test_a_video_cut_in_half_is_an_error_after_its_frames(
    tmp_path: Path, dcc: Cli, pictures: list[Path]
) -> None:
    for path in (write_video(tmp_path / "cut.avi", codec="MJPG"), tmp_path / "cut.mkv"):
        data = (path if path.suffix == ".avi" else VIDEOS / "progressive.mkv").read_bytes()
        path.write_bytes(data[: len(data) * 6 // 10])
        images, _, _, said = read(path)
        assert images and "is truncated: it says that it has" in said[-1]
        seen = []
        with pytest.raises(VideoError, match=r"cut\.\w+ is truncated"):
            for result in matcher_of(IdentityBackend()).stream(path, grey(0)):
                seen.append(result.index)
        assert len(seen) == len(images)
    sample = sample_frames(path, 3, (32, 40))
    assert sample.chosen and any("is truncated" in text for text in sample.unreadable)
    run = dcc(
        "match", "--reference", pictures[0], "--video", path, "-o", tmp_path / "o.jsonl", "--points", "9,9"
    )
    assert run.returncode == 1 and "is truncated: it says that it has 36 frames" in run.stderr
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == len(images)


def test_a_hole_in_a_file_shifts_no_frame_behind_it(tmp_path: Path) -> None:
    """Frames after a hole kept neither their number nor their time."""
    data = (VIDEOS / "progressive.mkv").read_bytes()
    whole, times, _, _ = read(VIDEOS / "progressive.mkv")
    assert [level(image) for image in whole] == list(range(36))
    places = (i for i in range(len(data) // 3, len(data) * 2 // 3, 97))
    found = 0
    for place in places:
        (tmp_path / "hole.mkv").write_bytes(data[:place] + data[place + 250 :])
        images, stamps, indices, said = read(tmp_path / "hole.mkv")
        assert said, place
        last = indices[-1]
        if len(images) < 36 and last == 35:
            found += 1
            assert level(images[-1]) == 35 and stamps[-1] == pytest.approx(times[-1])
    assert found


def _write_damaged(path: Path) -> None:
    data = bytearray((VIDEOS / "progressive.mkv").read_bytes())
    place = data.index(b"\x00\x00", len(data) // 2)
    data[place + 40 : place + 60] = bytes(range(200, 220))
    path.write_bytes(data)


def test_damaged_data_end_a_run_with_an_error(dcc: Cli, tmp_path: Path, pictures: list[Path]) -> None:
    _write_damaged(tmp_path / "damaged.mkv")
    images, _, _, said = read(tmp_path / "damaged.mkv")
    assert images and any("is damaged near frame" in text for text in said), said
    stream = matcher_of(IdentityBackend()).stream(tmp_path / "damaged.mkv", grey(0), on_note=said.append)
    with contextlib.suppress(VideoError):
        for _ in stream:
            pass
    assert stream.stats.damaged > 0 and stream.stats.frames == len(images)
    run = dcc("match", "--reference", pictures[0], "--video", tmp_path / "damaged.mkv", "--points", "9,9")
    assert run.returncode == 1 and len(run.stdout.splitlines()) == len(images)
    assert "warning: " in run.stderr and "is damaged near" in run.stderr


@contextlib.contextmanager
def _another_thread_decodes() -> Iterator[None]:
    """A thread that reads a file of which FFmpeg says at every frame that it is damaged or interlaced."""
    ended = threading.Event()

    def decode() -> None:
        while not ended.wait(0.0005):
            with listening():
                os.write(2, b"[h264 @ 0x55d0] error while decoding MB 1 2\n")
                os.write(2, b"[swscaler @ 0x55d1] interlaced frames are not supported\n")
                time.sleep(0.0005)

    thread = threading.Thread(target=decode)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_messages_about_a_file_of_another_thread_are_not_believed(tmp_path: Path) -> None:
    healthy, damaged = VIDEOS / "progressive.mkv", tmp_path / "damaged.mkv"
    _write_damaged(damaged)
    alone = [read(path) for path in (healthy, damaged)]
    with _another_thread_decodes():
        beside = [read(path) for path in (healthy, damaged)]
    assert not alone[0][3] and alone[1][3]
    for one, other in zip(alone, beside, strict=True):
        assert one[1:3] == other[1:3]
        np.testing.assert_array_equal(one[0], other[0])
        assert [re.sub("0x[0-9a-f]+", "", text) for text in one[3]] == [
            re.sub("0x[0-9a-f]+", "", text) for text in other[3]
        ]


def test_what_is_said_about_a_file_that_is_written_ends_no_video(tmp_path: Path) -> None:
    """FFmpeg complains about MJPG in .mp4; the decoding thread reads meanwhile."""
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            writer = VideoWriter(tmp_path / "a.mp4", 25, "MJPG")
            with contextlib.suppress(VideoError):
                writer.write(grey(1))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        said = [read(VIDEOS / "progressive.mkv")[3] for _ in range(3)]
    finally:
        ended.set()
        thread.join()
    assert said == [[], [], []]


def test_a_folder_called_00_is_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As KITTI calls its sequences."""
    (tmp_path / "00").mkdir()
    cv2.imwrite(str(tmp_path / "00" / "000000.png"), grey(9))
    monkeypatch.chdir(tmp_path)
    assert open_source("00").count == 1
    with pytest.raises(VideoError, match="camera 99 cannot"):
        open_source("99")


# Live ------------------------------------------------------------------------------------------


class _Camera:
    """A capture that gives ``frames`` frames and breaks off."""

    def __init__(self, frames: int) -> None:
        self._left = frames

    def read(self) -> tuple[bool, Image | None]:
        self._left -= 1
        return (True, grey(1)) if self._left >= 0 else (False, None)

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return True

    def release(self) -> None: ...


def _live(reconnect: int) -> Iterator[Image | DccError]:
    opened = lambda: _Camera(3)  # noqa: E731
    return live_frames(opened, opened(), "camera 0", reconnect, ends=False, wait_s=0)  # type: ignore[arg-type, return-value]


def test_a_camera_that_breaks_off_is_an_error_or_opened_again() -> None:
    frames = []
    with pytest.raises(VideoError, match="camera 0 broke off after 3 frames; --reconnect N opens it again"):
        for frame in _live(0):
            frames.append(frame)
    assert len(frames) == 3
    frames.clear()
    with pytest.raises(VideoError, match="broke off after 9 frames, opened again 2 times"):
        for frame in _live(2):
            frames.append(frame)
    assert len(frames) == 11 and sum(isinstance(frame, DccError) for frame in frames) == 2


def test_a_stream_that_breaks_off_ends_the_command_with_an_error(dcc: Cli, pictures: list[Path]) -> None:
    with NetworkCamera(frames=40, period_s=0.02) as camera:
        options = ["--reference", pictures[0], "--video", camera.address, "--points", "9,9"]
        run = dcc("match", *options)
        assert run.returncode == 1 and "broke off after" in run.stderr
        run = dcc("match", *options, "--reconnect", "1")
        assert run.returncode == 1 and "1 times opened again" in run.stderr
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        assert [line["frame"] for line in lines] == sorted({line["frame"] for line in lines})
