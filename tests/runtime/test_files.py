"""Reading pictures and videos, and files that are written completely or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.runtime.errors import DccError, ImageError, VideoError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.images import find_images, read_image, write_image
from dccnet.runtime.video.sources import open_source
from dccnet.runtime.video.writer import video_writer


def test_pictures_of_every_kind_become_8_bit_colour(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (20, 30), np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([grey] * 4))
    for name in ("grey", "deep", "alpha"):
        image = read_image(tmp_path / f"{name}.png")
        assert image.dtype == np.uint8 and image.shape == (20, 30, 3)
        assert (image[..., 0] == grey).all()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    upright = np.zeros((20, 40, 3), np.uint8)
    data = bytes(cv2.imencode(".jpg", upright)[1])
    # An APP1 segment with one EXIF entry: orientation 6, "rotate 90° clockwise to view".
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    body = b"Exif\0\0" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:])
    assert read_image(path).shape == (40, 20, 3)


def test_damaged_pictures_are_refused(tmp_path: Path, pictures: list[Path]) -> None:
    data = pictures[0].read_bytes()
    for name, content, message in (
        ("cut.jpg", data[: len(data) // 2], "truncated"),
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"hello", "not a picture"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="cannot read"):
        read_image(tmp_path)


def test_a_jpeg_may_have_bytes_after_its_end_and_a_thumbnails_end_is_not_its_own(
    tmp_path: Path, pictures: list[Path]
) -> None:
    data = pictures[0].read_bytes()
    whole, cut = tmp_path / "motion-photo.jpg", tmp_path / "cut.jpg"
    whole.write_bytes(data + b"\0" * 5000)  # phones append a video
    assert read_image(whole).shape[2] == 3
    thumbnail = b"Exif\0\0" + b"\xff\xd8..\xff\xd9"
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    cut.write_bytes(data[:2] + segment + data[2 : len(data) // 2])
    with pytest.raises(ImageError, match="truncated"):
        read_image(cut)


def test_pictures_are_found_by_file_folder_and_glob(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in find_images(tmp_path)] == ["a.png", "b.JPG"]
    assert [p.name for p in find_images(f"{tmp_path}/*.png")] == ["a.png"]
    with pytest.raises(ImageError, match="no pictures"):
        find_images(f"{tmp_path}/*.gif")
    with pytest.raises(ImageError, match="does not exist"):
        find_images(tmp_path / "absent")


def test_writing_a_picture_of_an_unknown_kind_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="use one of"):
        write_image(tmp_path / "x.docx", np.zeros((4, 4, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_atomic_file_and_folder(tmp_path: Path) -> None:
    file, folder = tmp_path / "file.txt", tmp_path / "deep" / "folder"
    for text in ("one", "two"):
        with atomic_path(file) as temporary:
            temporary.write_text(text)
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            (temporary / text).touch()
        assert file.read_text() == text
        assert [p.name for p in folder.iterdir()] == [text]
    with pytest.raises(RuntimeError), atomic_path(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "two"
    assert {p.name for p in tmp_path.iterdir()} == {"file.txt", "deep"}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DccError, match="cannot write"), atomic_path(tmp_path / "file" / "below"):
        pass


def test_video_round_trip(tmp_path: Path, video: Path) -> None:
    source = open_source(video)
    frames = list(source.frames)
    assert len(frames) == source.count == 12 and source.rate == 25.0
    assert frames[0].shape == (120, 160, 3)
    with video_writer(tmp_path / "copy.avi", source.rate) as writer:
        for frame in frames:
            writer.write(frame)
    copied = list(open_source(tmp_path / "copy.avi").frames)
    assert len(copied) == 12
    assert np.abs(copied[5].astype(int) - frames[5]).mean() < 5


def test_a_folder_of_pictures_is_a_video(pictures: list[Path]) -> None:
    source = open_source(pictures[0].parent)
    assert source.count == len(list(source.frames)) == len(pictures)


def test_videos_that_cannot_be_read(tmp_path: Path, video: Path) -> None:
    data = video.read_bytes()
    for name, content, message in (
        ("zero.mp4", b"", "empty"),
        ("cut.mp4", data[: len(data) // 2], "cannot be opened"),
        ("text.mp4", b"hello", "cannot be opened"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError, match=message):
            list(open_source(tmp_path / name).frames)
    with pytest.raises(VideoError, match="does not exist"):
        open_source(tmp_path / "absent.mp4")


def test_frames_of_another_size_are_fitted_not_dropped(tmp_path: Path) -> None:
    with video_writer(tmp_path / "x.avi", 25) as writer:
        for shape in ((48, 64), (30, 90), (48, 64)):
            writer.write(np.full((*shape, 3), 200, np.uint8))
    frames = list(open_source(tmp_path / "x.avi").frames)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert frames[1][0].mean() < 20 and frames[1][24].mean() > 180  # black above, picture in the middle


def test_an_interrupted_video_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), video_writer(tmp_path / "x.mp4", 25) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
