"""Frames to calibrate with and pairs to measure the loss on, as the settings name them."""

from __future__ import annotations

from collections.abc import Sequence

from dccnet.calibration.agreement import TestPair, find_pairs, pairs_from_frames
from dccnet.calibration.frames import Frame, Sample, sample_frames
from dccnet.calibration.settings import PictureSettings
from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import sha256_of
from dccnet.runtime.geometry import Size, resize_uint8
from dccnet.runtime.images import find_images, read_image
from dccnet.runtime.messages import note, warn


def read_frames(settings: PictureSettings, size: Size) -> Sample | None:
    """Frames of ``data``, resized to ``size`` (height, width); None where it names none.

    Warns about pictures that cannot be read. Raises what
    :func:`~dccnet.calibration.frames.sample_frames` raises.
    """
    if settings.data is None:
        return None
    sample = sample_frames(settings.data, settings.frames, size)
    for problem in sample.unreadable:
        warn(f"{problem}; skipped")
    return sample


def describe_sample(sample: Sample) -> str:
    """Number of frames, and of those that were left out, for people to read."""
    text = f"{len(sample.chosen)} frames"
    if sample.duplicates:
        text += f"; {sample.duplicates} near-duplicates left out"
    if sample.unreadable:
        text += f"; {len(sample.unreadable)} that cannot be read left out"
    return text


def choose_pairs(sample: Sample | None, settings: PictureSettings, size: Size) -> list[TestPair]:
    """Pairs of ``check``, or of the frames that ``sample`` has left over, or of dcc's own pictures.

    Says which pictures it takes where the user named none. Raises :class:`DataError` where there are fewer
    than two frames.
    """
    if settings.check is not None:
        pairs = find_pairs(settings.check, settings.pairs, size)
        if not pairs:
            raise DataError(f"--check {settings.check} has no two different frames to match")
        return pairs
    if sample is None:
        pairs = pairs_from_frames(_own_frames(size), settings.pairs)
        note(
            "measuring on the pictures that come with dcc: name pictures like those that will be matched "
            "with --check"
        )
        return pairs
    pairs = pairs_from_frames(sample.others, settings.pairs)
    if not pairs:
        warn(
            "too few frames are left to measure the loss on: it is measured on the frames that were "
            "calibrated with, and is larger on others; name some with --check"
        )
        pairs = pairs_from_frames(sample.chosen, settings.pairs)
    if not pairs:
        raise DataError("one frame is not enough to measure the loss on: name more with --data or --check")
    return pairs


def frames_of(pairs: Sequence[TestPair], size: Size) -> list[Image]:
    """The different pictures of ``pairs``, in their order, resized to ``size`` (height, width)."""
    images = {id(image): image for pair in pairs for image in (pair.a, pair.b)}
    return [resize_uint8(image, size) for image in images.values()]


def _own_frames(size: Size) -> list[Frame]:
    def frame(name: str, pixels: Image) -> Frame:
        return Frame(name, sha256_of(pixels.tobytes()), pixels)

    return [frame(path.name, resize_uint8(read_image(path), size)) for path in find_images(PICTURES)]
