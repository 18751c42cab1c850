"""Names of frames of videos among names of pictures: ``clip.mp4/frame_000012``."""

from __future__ import annotations

import re

_FRAME = re.compile(r"(.+)/frame_(\d{1,9})(?:\.[a-zA-Z]+)?")


def frame_name(video: str, number: int) -> str:
    return f"{video}/frame_{number:06d}"


def frame_of(name: str) -> tuple[str, int] | None:
    """The video and the number of a frame; None for the name of a picture."""
    match = _FRAME.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))
