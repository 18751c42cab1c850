"""Photographs of different animals, which come with dcc (demo/animals/README.md has their sources)."""

from __future__ import annotations

from pathlib import Path

from dccnet.runtime.alignment.morph import Morph, MorphSettings
from dccnet.runtime.arrays import Image
from dccnet.runtime.drawing.matches import draw_points
from dccnet.runtime.images import read_image, write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.video.writer import video_writer

FOLDER = Path(__file__).parent / "animals"
MARKED = ((171.0, 111.0), (320.0, 129.0), (264.0, 240.0), (215.0, 60.0))
"""Pixels (x, y) of the cat's eyes, nose and forehead."""
_RATE = 25.0


def animal(name: str) -> Image:
    """``(H, W, 3)`` uint8 BGR: ``cat``, ``raccoon`` or ``moose``."""
    return read_image(FOLDER / f"{name}.jpg")


def draw_animals(matcher: Matcher, folder: Path) -> None:
    """Write ``animals.jpg``, matches of a cat and a raccoon, ``animals-points.jpg`` and ``morph.mp4``."""
    cat, raccoon = animal("cat"), animal("raccoon")
    result = matcher.match(cat, raccoon)
    write_image(folder / "animals.jpg", result.draw(cat, raccoon))
    carried = result.carry(MARKED, from_="a")
    write_image(folder / "animals-points.jpg", draw_points(cat, raccoon, carried))
    with video_writer(folder / "morph.mp4", _RATE) as writer:
        for frame in Morph(result, cat, raccoon, MorphSettings(rate=_RATE)).frames():
            writer.write(frame)
