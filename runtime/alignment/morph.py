"""Morphs: both pictures move towards each other along the smooth map while one fades into the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.alignment.frame import Frame, Placement
from dccnet.runtime.alignment.lattice import block_centres, spread
from dccnet.runtime.alignment.mask import smoothstep
from dccnet.runtime.alignment.smooth_map import SmoothMap
from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.drawing.canvas import GAP
from dccnet.runtime.errors import ArgumentError
from dccnet.runtime.geometry import Size
from dccnet.runtime.given_pictures import GivenPicture, as_image

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences

SHORTEST, LONGEST = 0.5, 60.0
"""Seconds that a morph may take."""
_REST = 0.12  # share of the time for which each picture stands still
_FEATHER = 1 / 40  # width of the border along which a picture fades where it ends, as a share of the frame
_KEPT_BYTES = 400 << 20
_BLUR = 1 / 25  # of what fills the frame beside a picture of another shape, as a share of the frame
_BLURRED_AT = 256  # longest side at which it is blurred: at that of the frame it would take minutes


@dataclass(frozen=True, slots=True)
class MorphSettings:
    """How long and how large a morph is. Raises :class:`ArgumentError` for what cannot be."""

    seconds: float = 4.0
    """From A to B and, with ``loop``, back."""
    rate: float = 25.0
    """Frames per second."""
    longest: int | None = None
    """Longer side of the frame in pixels; by default, as large as the larger picture."""
    loop: bool = True
    side_by_side: bool = False
    """Whether A and B stand to the left and right of the morph."""

    def __post_init__(self) -> None:
        if not SHORTEST <= self.seconds <= LONGEST:
            raise ArgumentError(
                f"a morph takes {SHORTEST:g} to {LONGEST:g} seconds, not {self.seconds:g}: choose others"
            )
        if not 1 <= self.rate <= 120:
            raise ArgumentError(f"a morph has 1 to 120 frames per second, not {self.rate:g}")
        if self.longest is not None and not 16 <= self.longest <= 7680:
            raise ArgumentError(f"a morph is 16 to 7680 pixels long, not {self.longest}")


class Morph:
    """The frames between a pair of pictures."""

    def __init__(
        self,
        result: Correspondences,
        image_a: GivenPicture,
        image_b: GivenPicture,
        settings: MorphSettings | None = None,
    ) -> None:
        """``image_a`` and ``image_b`` are those that were given to the matcher. If A was mirrored to be
        matched, the film shows it mirrored."""
        image_a, image_b = as_image(image_a), as_image(image_b)
        result.check_size("a", image_a)
        result.check_size("b", image_b)
        self.settings = settings or MorphSettings()
        frame = Frame.around(result.size_a, result.size_b, self.settings.longest)
        self._map: SmoothMap = result.smooth_map(frame=frame)
        a, b = self._map.frame.a, self._map.frame.b
        self._a, self._b = filled(a.shown(image_a), a, frame.size), filled(image_b, b, frame.size)

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(_times(self.settings))

    @property
    def shown_size(self) -> Size:
        """(height, width) of the frames."""
        height, width = self._map.frame.size
        return height, width if not self.settings.side_by_side else 3 * width + 2 * GAP

    def frames(self) -> Iterator[Image]:
        """Every frame, ``(H, W, 3)``. In a loop, the first one follows the last one."""
        kept: dict[float, Image] = {}  # for the way back and while a picture rests
        most = max(_KEPT_BYTES // (3 * self.shown_size[0] * self.shown_size[1]), 1)
        for time in _times(self.settings):
            if time not in kept:
                if len(kept) >= most:
                    del kept[next(iter(kept))]
                kept[time] = self._shown(self.at(time))
            yield kept[time]

    def at(self, time: float) -> Image:
        """The frame at ``time`` from 0, which is A, to 1, which is B."""
        size, block = self._map.frame.size, max(int(self._map.step), 1)
        centres = block_centres(size, block)
        middle = self._map.middle(centres.reshape(-1, 2), time)
        from_a, from_b = (
            spread(self._map.at(middle, end).reshape(centres.shape), size, block) for end in (0.0, 1.0)
        )
        weight = np.float32(smoothstep(np.array(time)))
        share = (1 - weight) * _coverage(from_a), weight * _coverage(from_b)
        total = share[0] + share[1]
        # Where neither picture reaches, their borders go on.
        of_b = np.where(total > 1e-6, share[1] / np.maximum(total, 1e-6), weight)
        a, b = (
            cv2.remap(
                picture, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            for picture, places in ((self._a, from_a), (self._b, from_b))
        )
        return np.asarray(np.rint(a + of_b[..., None] * (b.astype(np.float32) - a)), np.uint8)

    def _shown(self, frame: Image) -> Image:
        if not self.settings.side_by_side:
            return frame
        gap = np.zeros((len(frame), GAP, 3), np.uint8)
        return np.hstack([self._a, gap, frame, gap, self._b])


def filled(image: Image, placement: Placement, size: Size) -> Image:
    """``(*size, 3)``: a picture in its place in the frame, before a blurred copy of itself."""
    height, width = size
    inner = tuple(max(round(side * placement.scale), 1) for side in image.shape[1::-1])
    how = cv2.INTER_AREA if placement.scale < 1 else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(image, inner, interpolation=how), np.uint8)[:height, :width]
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    if left <= 0 and top <= 0:
        right, below = width - resized.shape[1], height - resized.shape[0]  # 0, or 1 by rounding
        return np.asarray(cv2.copyMakeBorder(resized, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    cover = max(height / image.shape[0], width / image.shape[1])
    rows, columns = (max(round(side / cover), 1) for side in size)  # of the picture, in the frame's shape
    y, x = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    less = min(_BLURRED_AT / max(size), 1)
    reduced = max(round(width * less), 1), max(round(height * less), 1)
    part = cv2.resize(image[y : y + rows, x : x + columns], reduced, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(part, (0, 0), max(reduced) * _BLUR)
    canvas = np.array(cv2.resize(blurred, (width, height)), np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = resized
    return canvas


def _times(settings: MorphSettings) -> list[float]:
    """The time of each frame: at rest in A, on to B, at rest there, and back again in a loop."""
    count = max(round(settings.seconds * settings.rate), 2)
    phase = np.arange(count) / count if settings.loop else np.arange(count) / (count - 1)
    way = 1 - np.abs(2 * phase - 1) if settings.loop else phase
    eased: Floats = smoothstep((way - _REST) / (1 - 2 * _REST))
    return [round(float(time), 6) for time in eased]


def _coverage(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(H, W)`` in [0, 1]: 1 inside a picture of the frame's size, fading to 0 where places leave it."""
    height, width = places.shape[:2]
    feather = np.float32(max(height, width) * _FEATHER)
    x, y = places[..., 0], places[..., 1]
    outside = np.maximum(np.maximum(-x, x - (width - 1)), np.maximum(-y, y - (height - 1)))
    return np.asarray(np.clip(1 - outside / feather, 0, 1), np.float32)
