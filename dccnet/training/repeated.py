"""Pictures of things with repeated parts, such as the windows of a house, with known true matches.

Only where a part lies within the thing tells it from its copies, as in the paper's Figures 1 and 5. A thing
is a plate cut from one photograph, with copies of one piece of another photograph on it. Both pictures of
a pair show the same thing before different photographs: in the source it stands upright, in the target it
is warped.

Coordinates in this file are normalised as in :mod:`dccnet.training.synthetic`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.pairs import KEYPOINT_COLUMNS
from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.arrays import Points as PixelPoints
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import write_text
from dccnet.runtime.geometry import Size, cell_pixels
from dccnet.runtime.images import write_image
from dccnet.training.synthetic import (
    Affine,
    Chain,
    Points,
    Warp,
    normalised,
    photometric_change,
    random_warp,
    to_pixels,
)

LIST = "pairs.csv"
KINDS = ("windows", "wheels", "legs", "keys")
CANVAS = 512
"""Side of the square on which a thing is drawn, in pixels."""
FILLS = (0.75, 0.95)
"""Side of the thing's square as a fraction of the picture's side."""
SMALLEST_PIECE = 0.25
"""Smallest side of a piece of a photograph, as a fraction of the photograph's."""
PART_GAIN = 0.1
"""Largest relative change of a single copy's brightness."""
STRETCH = 0.1
"""Largest shift, and logarithm of the largest stretch along an axis, of a thing that stands upright."""
MARGIN = 0.03
"""Least distance of a keypoint from the picture's border, as a fraction of its side."""
TRIES = 100


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedPair:
    """Two pictures ``(H, W, 3)`` uint8 BGR of one thing, and the centres of its parts in both.

    Points are ``(N, 2)`` pixels, accurate to half a pixel.
    """

    kind: str
    source: Image
    target: Image
    source_points: PixelPoints
    target_points: PixelPoints


@dataclass(frozen=True, slots=True)
class _Thing:
    """Boxes are (centre x, centre y, half width, half height)."""

    plate: tuple[float, float, float, float]
    parts: list[tuple[float, float, float, float]]
    round_parts: bool = False


def repeated_pair(photographs: Sequence[Image], index: int, seed: int, size: Size) -> RepeatedPair:
    """Pair number ``index``, of a kind in turn; ``size`` is (height, width) of both pictures in pixels.

    ``photographs`` are uint8 BGR. The same arguments return the same pair. Raises :class:`DataError` for
    fewer than two photographs.
    """
    if len(photographs) < 2:
        raise DataError("pictures of repeated parts need at least two photographs")
    rng = np.random.default_rng([seed, index])
    kind = KINDS[index % len(KINDS)]
    thing = _thing(kind, rng)
    chosen = [photographs[i] for i in rng.permutation(len(photographs))[:4]]
    plate, part = (_piece(photograph, rng) for photograph in chosen[:2])
    views = [_view(thing, size, rng, bent) for bent in (False, True)]
    pictures = []
    for place, background in zip((warp for warp, _ in views), (chosen[-1], chosen[-2]), strict=True):
        drawn, opaque = _draw(thing, plate, part, rng)
        behind = np.asarray(
            cv2.resize(_piece(background, rng), size[::-1], interpolation=cv2.INTER_AREA), np.uint8
        )
        pictures.append(photometric_change(_render(drawn, opaque, behind, place), rng))
    (_, source_points), (_, target_points) = views
    return RepeatedPair(kind, pictures[0], pictures[1], source_points, target_points)


def _thing(kind: str, rng: np.random.Generator) -> _Thing:
    if kind == "windows":
        rows, columns = int(rng.integers(2, 4)), int(rng.integers(3, 5))
        across, down = _row(columns, 0.8), _row(rows, 0.8)
        half = 0.8 / columns * rng.uniform(0.4, 0.7), 0.8 / rows * rng.uniform(0.4, 0.7)
        return _Thing((0, 0, 0.9, 0.9), [(x, y, *half) for y in down for x in across])
    count = int(rng.integers(4, 7))
    if kind == "wheels":
        return _Thing(
            (0, -0.1, 0.9, 0.4), [(x, 0.3, 0.6 / count, 0.6 / count) for x in _row(count, 0.85)], True
        )
    if kind == "legs":
        return _Thing((0, -0.4, 0.9, 0.35), [(x, 0.35, 0.3 / count, 0.5) for x in _row(count, 0.85)])
    return _Thing((0, 0, 0.9, 0.55), [(x, 0.1, 0.68 / count, 0.4) for x in _row(count, 0.8)])


def _row(count: int, reach: float) -> Floats:
    """Centres of ``count`` equal parts of the interval from ``-reach`` to ``reach``."""
    centres: Floats = reach * ((2 * np.arange(count) + 1) / count - 1)
    return centres


def _piece(photograph: Image, rng: np.random.Generator) -> Image:
    """A random rectangle of a photograph."""
    height, width = photograph.shape[:2]
    h, w = (max(1, int(side * rng.uniform(SMALLEST_PIECE, 1))) for side in (height, width))
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return photograph[y : y + h, x : x + w]


def _view(thing: _Thing, size: Size, rng: np.random.Generator, bent: bool) -> tuple[Floats, PixelPoints]:
    """Where the pixels of a picture of ``size`` lie on the thing, ``(H, W, 2)``, and its parts' centres.

    The thing stands upright, or is warped as synthetic pairs are if ``bent``.
    """
    centres = np.array([part[:2] for part in thing.parts])
    pixels = normalised(cell_pixels(size, size).reshape(-1, 2), size)
    for _ in range(TRIES):
        zoom = 1 / rng.uniform(*FILLS)
        upright = Affine(
            np.diag(np.exp(rng.uniform(-STRETCH, STRETCH, 2))), rng.uniform(-STRETCH, STRETCH, 2)
        )
        warp: Warp = Chain(random_warp(rng) if bent else upright, Affine(np.eye(2) * zoom, np.zeros(2)))
        places = warp(pixels)
        nearest = [int(((places - centre) ** 2).sum(axis=1).argmin()) for centre in centres]
        points: Points = pixels[nearest]
        found = np.abs(places[nearest] - centres).max() < 4 * zoom / min(size)
        if found and (np.abs(points) < 1 - 2 * MARGIN).all():
            break
    else:
        raise DataError(f"no view of {len(centres)} parts shows all of them: choose another --seed")
    return places.reshape(*size, 2), to_pixels(points, size)


def _draw(
    thing: _Thing, plate: Image, part: Image, rng: np.random.Generator
) -> tuple[Image, NDArray[np.uint8]]:
    """The thing on its canvas, and where it is opaque (255)."""
    canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    opaque = np.zeros((CANVAS, CANVAS), np.uint8)
    pieces = [(thing.plate, plate, False)] + [(box, part, thing.round_parts) for box in thing.parts]
    for (x, y, half_width, half_height), piece, is_round in pieces:
        left, top = ((np.array([x - half_width, y - half_height]) + 1) / 2 * CANVAS).round().astype(int)
        right, bottom = ((np.array([x + half_width, y + half_height]) + 1) / 2 * CANVAS).round().astype(int)
        drawn = cv2.resize(piece, (int(right - left), int(bottom - top)), interpolation=cv2.INTER_AREA)
        gain = 1 + rng.uniform(-PART_GAIN, PART_GAIN)
        drawn = np.clip(drawn * gain, 0, 255).astype(np.uint8)
        shape = np.full(drawn.shape[:2], 255, np.uint8)
        if is_round:
            centre, axes = (
                (shape.shape[1] // 2, shape.shape[0] // 2),
                (shape.shape[1] // 2, shape.shape[0] // 2),
            )
            shape = np.asarray(
                cv2.ellipse(np.zeros_like(shape), centre, axes, 0, 0, 360, 255, -1), np.uint8
            )
        canvas[top:bottom, left:right][shape > 0] = drawn[shape > 0]
        opaque[top:bottom, left:right] |= shape
    return canvas, opaque


def _render(drawn: Image, opaque: NDArray[np.uint8], behind: Image, places: Floats) -> Image:
    """The thing before a picture ``behind``, seen as ``places`` say (:func:`_view`)."""
    where = to_pixels(places.reshape(-1, 2), (CANVAS, CANVAS)).reshape(places.shape).astype(np.float32)
    x, y = where[..., 0], where[..., 1]
    thing = cv2.remap(drawn, x, y, cv2.INTER_LINEAR).astype(np.float32)
    share = cv2.remap(opaque, x, y, cv2.INTER_LINEAR).astype(np.float32)[..., None] / 255
    # The canvas is black around the thing, so that interpolated colours have their share in them already.
    mixed: Image = np.rint(thing + (1 - share) * behind).clip(0, 255).astype(np.uint8)
    return mixed


def write_repeated(
    photographs: Sequence[Image], folder: Path, count: int, seed: int, size: Size
) -> Iterator[RepeatedPair]:
    """Write ``count`` pairs, and at the end their list, :data:`LIST` (0-based); yields each pair.

    The arguments are those of :func:`repeated_pair`, and so are the errors.
    """
    lines = [",".join(KEYPOINT_COLUMNS)]
    for index in range(count):
        pair = repeated_pair(photographs, index, seed, size)
        names = [f"images/{index:04d}-{side}.png" for side in ("source", "target")]
        for name, picture in zip(names, (pair.source, pair.target), strict=True):
            write_image(folder / name, picture)
        columns = [
            ";".join(f"{value:.2f}" for value in axis)
            for points in (pair.source_points, pair.target_points)
            for axis in points.T
        ]
        lines.append(",".join([*names, pair.kind, *columns]))
        yield pair
    write_text(folder / LIST, "\n".join(lines) + "\n")
