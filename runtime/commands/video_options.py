"""The options of ``dcc match`` that only ``--video`` uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """The fields have the names of the options."""

    mask: Path | None
    box: tuple[str, ...]
    map: str | None
    follow: bool
    smooth: bool
    batch: int | None
    live: bool
    reconnect: int | None
    frames: int | None
    codec: str | None
    save_masks: Path | None
    stats: bool
