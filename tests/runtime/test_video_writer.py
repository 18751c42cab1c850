"""Video files: they are complete, and those that dcc writes by default play in a browser."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.demo.browser import CHROMIUM, chromium
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import VideoError
from dccnet.runtime.extras import install
from dccnet.runtime.video import h264
from dccnet.runtime.video.animation import write_animation
from dccnet.runtime.video.writer import video_writer

PLAY = """async (address) => {
  const video = document.createElement("video");
  video.muted = true;
  video.playbackRate = 4;
  document.body.append(video);
  return await new Promise((done) => {
    video.onerror = () => done("does not play: " + video.error.message);
    video.onended = () => done([video.videoWidth, video.videoHeight, video.duration]);
    video.src = address;
    video.play();
  });
}"""
SHOW = """async (address) => {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  return [picture.naturalWidth, picture.naturalHeight];
}"""


def moving(count: int, size: tuple[int, int] = (47, 63)) -> list[Image]:
    """Frames ``(H, W, 3)`` of a square that moves."""
    frames = [np.full((*size, 3), 60, np.uint8) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[10:30, 2 * number : 2 * number + 20] = (40, 90, 220)
    return frames


def write(path: Path, frames: list[Image], codec: str | None = None) -> None:
    with video_writer(path, 25, codec) as writer:
        for frame in frames:
            writer.write(frame)


def read(path: Path) -> list[Image]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (got := capture.read())[0]:
        frames.append(np.asarray(got[1], np.uint8))
    return frames


def test_without_pyav_mp4_is_vp9(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h264, "available", lambda: False)
    write(tmp_path / "a.mp4", moving(3))
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") in (b"vp09", b"VP90")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=r"writing H\.264 needs av: " + re.escape(install("video"))):
        write(tmp_path / "b.mp4", moving(1), "avc1")


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.avi"])
@pytest.mark.parametrize("count", [1, 11])
def test_every_frame_is_in_the_file_in_its_colours(tmp_path: Path, name: str, count: int) -> None:
    frames = moving(count)
    write(tmp_path / name, frames)
    found = read(tmp_path / name)
    assert len(found) == count
    height, width = frames[0].shape[:2]
    for one, other in zip(found, frames, strict=True):
        assert one.shape[:2] == (height + 1, width + 1)  # even
        assert np.abs(one[:height, :width].astype(int) - other).mean() < 6


def test_h264_says_which_colours_it_has(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    write(tmp_path / "a.mp4", moving(2))
    with av.open(str(tmp_path / "a.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert context.name == "h264" and context.pix_fmt == "yuv420p" and context.colorspace == 1
        assert file.streams.video[0].average_rate == 25


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("av")
    encoder = h264.H264Encoder(tmp_path / "missing" / "a.mp4", 25, (64, 48))
    with pytest.raises(VideoError, match=r"cannot write a\.mp4"):
        encoder.write(moving(1, (48, 64))[0])
        encoder.close()


def test_videos_play_in_chromium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"{CHROMIUM} is missing")
    pytest.importorskip("playwright")
    frames = moving(10)
    for name in ("h264.mp4", "vp8.webm"):
        write(tmp_path / name, frames)
    for name in ("a.gif", "a.webp"):
        write_animation(tmp_path / name, frames, 10)
    monkeypatch.setattr(h264, "available", lambda: False)
    write(tmp_path / "vp9.mp4", frames)
    (tmp_path / "page.html").write_text("<body></body>")
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto((tmp_path / "page.html").as_uri())
        for name in ("h264.mp4", "vp8.webm", "vp9.mp4"):
            played = page.evaluate(PLAY, (tmp_path / name).as_uri())
            assert isinstance(played, list), f"{name} {played}"
            assert played[:2] == [64, 48] and abs(played[2] - 0.4) < 0.05
        for name in ("a.gif", "a.webp"):
            assert page.evaluate(SHOW, (tmp_path / name).as_uri()) == [63, 47]
