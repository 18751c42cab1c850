"""Frames from OpenCV's ``VideoCapture``, of a file or live, with what FFmpeg says about them.

For some videos OpenCV returns True and a frame of undefined content, or of damaged data. FFmpeg's messages
tell these apart, the file's time stamps tell whether frames are missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError, VideoError
from dccnet.runtime.native_messages import Heard, listening, readable
from dccnet.runtime.video.display_matrix import display_turn, turned
from dccnet.runtime.video.matroska import is_whole

_RETRIES = 50  # failed reads in a row after which a file has ended, whatever its frame count
_NEAR = 16  # frames: decoders that use several threads report damage so much earlier or later
_HARMLESS = ("mmco: unref short failure", "co located POCs unavailable")
"""Errors of H.264 streams that begin between two key frames; FFmpeg decodes what follows."""
_CODECS = {"AV01": "AV1", "av01": "AV1", "hev1": "HEVC", "hvc1": "HEVC", "VP90": "VP9", "vvc1": "VVC"}


class BetweenFramesError(VideoError):
    """A note that comes between two frames; it is no frame, and stands for none."""


class DamagedError(BetweenFramesError):
    """Comes before a frame near which FFmpeg reports damaged data."""


class ReconnectedError(BetweenFramesError):
    """Comes where a live source broke off and was opened again."""


class FileFrames(Iterator["Image | DccError"]):
    """The frames of a video file in order, or a :class:`VideoError` in place of each that is missing.

    Raises :class:`VideoError` for a file that this OpenCV cannot decode correctly, and at the end of one
    that is truncated.
    """

    def __init__(
        self,
        open_capture: Callable[[], cv2.VideoCapture],
        capture: cv2.VideoCapture,
        path: Path,
        count: int,
        rate: float,
    ) -> None:
        """``open_capture`` opens the file again, as ``capture`` was opened."""
        self._open_capture, self._capture = open_capture, capture
        self._path, self._count, self._rate = path, count, rate
        self.time_s = 0.0
        """The time stamp of the last frame, in seconds from the first one."""
        self._reads = 0
        self._alone = False  # whether no other thread may decode during a read
        self._constant = True  # whether all frames so far lasted 1 / rate
        self._said, self._said_at = "", -_NEAR  # what FFmpeg said last, and at which frame
        code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        self._fourcc = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
        self._is_mp4 = _is_mp4(path)
        turn = display_turn(path) if self._is_mp4 else None
        self._turn = turn if turn is not None and turn.mirrored else None
        """How frames are turned here because OpenCV, which knows rotations only, would do it wrongly."""
        self._set_turn()
        self._frames: Generator[Image | DccError] = self._decode()

    def __next__(self) -> Image | DccError:
        return next(self._frames)

    def close(self) -> None:
        self._frames.close()

    def _decode(self) -> Generator[Image | DccError]:
        """OpenCV reports a frame that cannot be decoded like the end; ``count`` tells them apart."""
        number = failed = 0
        first_s: float | None = None
        try:
            while failed <= _RETRIES:
                done, frame, heard = self._read()
                damaged = self._hear(heard, number)
                if not done:
                    failed += 1
                    if number + failed > self._count:
                        break
                    continue
                stamp_s = self._stamp_s()
                first_s = stamp_s if first_s is None else first_s
                missing = self._missing(stamp_s - first_s, number, failed)
                for lost in range(number, number + missing):
                    yield VideoError(f"frame {lost} of {self._path} cannot be decoded")
                number, failed = number + missing, 0
                if damaged:
                    yield DamagedError(
                        f"{self._path} is damaged near frame {number} (FFmpeg: {self._said})"
                    )
                self._set_time(stamp_s - first_s, number)
                number += 1
                image = np.asarray(frame, np.uint8)
                yield image if self._turn is None else turned(image, self._turn)
        finally:
            self._capture.release()
        self._end(number)

    def _read(self) -> tuple[bool, Any, Heard]:
        """The next frame, if it can be read, and what was said about it alone.

        Where another thread decoded at the same time, its file may be meant: then this file is opened and
        read again up to here, while no other thread decodes. So is the rest of it, so that this happens
        once.
        """
        self._reads += 1
        with listening(exclusive=self._alone) as heard:
            done, frame = self._capture.read()
        if heard.alone or not heard.lines:
            return done, frame, heard
        with listening(exclusive=True):
            again = self._open_capture()
        if not again.isOpened():  # the file is gone
            return done, frame, heard
        self._capture.release()
        self._capture, self._alone = again, True
        self._set_turn()
        for _ in range(self._reads - 1):
            with listening(exclusive=True):
                again.grab()
        with listening(exclusive=True) as heard:
            done, frame = again.read()
        return done, frame, heard

    def _set_turn(self) -> None:
        if self._turn is not None:
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)

    def _hear(self, heard: Heard, number: int) -> bool:
        """Whether FFmpeg reported damage. Raises :class:`VideoError` for frames of undefined content."""
        for line in heard.lines:
            if line.startswith("[swscaler"):
                said, options = f"(FFmpeg: {readable(line)})", "-pix_fmt yuv420p"
                if "interlaced" in line:
                    said, options = "because it is interlaced", "-vf yadif"
                raise VideoError(
                    f"{self._path} cannot be decoded correctly by this OpenCV {said}: convert it first, "
                    f"such as ffmpeg -i {self._path.name} {options} converted.mp4"
                )
        lines = [line for line in map(readable, heard.lines) if not line.startswith(_HARMLESS)]
        if lines:
            self._said, self._said_at = lines[0], number
        return bool(lines)

    def _stamp_s(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def _set_time(self, time_s: float, number: int) -> None:
        """Some containers have no time stamps: then the frames follow by the rate."""
        if number == 0:
            return
        step = 1 / self._rate
        if time_s <= self.time_s:
            time_s = self.time_s + step
        near_damage = number - self._said_at < _NEAR
        self._constant = self._constant and (near_damage or abs(time_s - self.time_s - step) < 0.3 * step)
        self.time_s = time_s

    def _missing(self, time_s: float, number: int, failed: int) -> int:
        """How many frames are missing before the one at ``time_s``."""
        if number and self._said and number - self._said_at < 4 * _NEAR and self._constant:
            by_time = round((time_s - self.time_s) * self._rate) - 1
            if 0 <= by_time <= max(self._count - number, 0):
                return by_time
        return failed

    def _end(self, number: int) -> None:
        """What the end says: nothing was decoded, or less than the file claims to have."""
        said = f" (FFmpeg: {self._said})" if self._said else ""
        if not number:
            codec = _CODECS.get(self._fourcc, self._fourcc)
            lacks = f"; its codec is {codec}, which this OpenCV may lack" if codec.isalnum() else ""
            if is_whole(self._path) is False:
                raise VideoError(f"{self._path} is truncated before its first frame: copy it again")
            raise VideoError(
                f"{self._path} contains no frame that can be decoded{lacks}{said}: convert it, such as "
                f"ffmpeg -i {self._path.name} -c:v libx264 converted.mp4"
            )
        short = self._count - number > max(2, 0.02 * self._count)
        whole = is_whole(self._path)
        # An MP4 file has an index of all its frames, of which an edit list may show a part. If one of them
        # were not there, FFmpeg would say so. Of a Matroska file, OpenCV multiplies the duration by the
        # rate, which is too much where frames come at uneven times, or where sound lasts longer.
        complete = not self._said and (self._is_mp4 or whole)
        cut = whole is False or any(text in self._said for text in ("partial file", "prematurely"))
        if cut or (short and not complete):
            raise VideoError(
                f"{self._path} is truncated: it says that it has {self._count} frames, and ended after "
                f"{number}{said}; these are done"
            )


def live_frames(
    open_capture: Callable[[], cv2.VideoCapture],
    capture: cv2.VideoCapture,
    name: str,
    reconnect: int,
    *,
    ends: bool,
    wait_s: float = 1.0,
) -> Iterator[Image | DccError]:
    """The frames of a camera or an address.

    Unless it ``ends`` by itself, as a video at an address does, it has no good end: when it breaks off, it
    is opened again, up to ``reconnect`` times in all, each time ``wait_s`` later, and a
    :class:`ReconnectedError` is yielded. Raises :class:`VideoError` when that is used up.
    """
    number = used = 0
    try:
        while True:
            done, frame = capture.read()
            if done:
                number += 1
                yield np.asarray(frame, np.uint8)
                continue
            capture.release()
            if ends:
                break
            if used >= reconnect:
                again = f", opened again {used} times" if used else "; --reconnect N opens it again"
                raise VideoError(f"{name} broke off after {number} frames{again}")
            used += 1
            time.sleep(wait_s)
            capture = open_capture()
            if capture.isOpened():
                yield ReconnectedError(f"{name} broke off after {number} frames and was opened again")
    finally:
        capture.release()
    if not number:
        raise VideoError(f"{name} contains no frame that can be decoded")


def _is_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"
