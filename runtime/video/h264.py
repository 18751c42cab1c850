"""H.264 in MP4 by PyAV, which every browser plays (the extra ``video``)."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import VideoError
from dccnet.runtime.extras import install, required
from dccnet.runtime.files import native_path

ADVICE = f"without H.264, videos take much longer to write as VP9: {install('video')}"

_NAMES = frozenset({"avc1", "h264", "x264"})
_OPTIONS = {"preset": "superfast", "crf": "21"}
"""For x264: visually near the original, at a high rate (docs/video.md)."""
_BT709, _LIMITED = 1, 1  # ITU-T H.273: how colours are coded, which players assume of HD videos


def available() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def is_meant(codec: str | None) -> bool:
    """Whether four letters such as ``avc1`` mean H.264."""
    return codec is not None and codec.lower() in _NAMES


class H264Encoder:
    """Writes frames ``(height, width, 3)`` uint8 BGR, both sides even."""

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        """``size`` is (width, height). Raises :class:`VideoError` where PyAV is missing or cannot write."""
        with required("writing H.264", "video", error=VideoError):
            import av
            from av.video.reformatter import Colorspace, VideoReformatter
        self._av, self._path = av, path
        self._converter = VideoReformatter()  # kept, since it is slow to prepare
        self._colours = Colorspace.ITU709
        try:
            self._file = av.open(native_path(path), "w", format="mp4", options={"movflags": "faststart"})
            self._stream = self._file.add_stream(
                "libx264", rate=Fraction(rate).limit_denominator(1001), options=dict(_OPTIONS)
            )
        except (av.FFmpegError, ValueError) as error:
            raise self._failed(error) from error
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED

    def write(self, frame: Image) -> None:
        """Raises :class:`VideoError`."""
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="bgr24")
        self._encode(self._converter.reformat(picture, format="yuv420p", dst_colorspace=self._colours))

    def close(self) -> None:
        """Raises :class:`VideoError`."""
        try:
            self._encode(None)
        finally:
            try:
                self._file.close()
            except self._av.FFmpegError as error:
                raise self._failed(error) from error

    def _encode(self, frame: Any) -> None:
        try:
            self._file.mux(self._stream.encode(frame))
        except self._av.FFmpegError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> VideoError:
        return VideoError(f"cannot write {self._path.name}: {error}")
