"""A picture brought into the shape of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.alignment.mask import soft_mask
from dccnet.runtime.arrays import Image
from dccnet.runtime.drawing.styles import laid_over
from dccnet.runtime.given_pictures import GivenPicture, as_image
from dccnet.runtime.remap import check_remap, remap

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences

Outside = Literal["warped", "b", "transparent"]
"""What an aligned picture shows outside the mask: A all the same, B, or nothing."""
OUTSIDES: tuple[Outside, ...] = get_args(Outside)


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """A in the shape of B; everything has the size of B."""

    warped: Image
    """``(H, W, 3)`` uint8 BGR: A, warped."""
    mask: NDArray[np.float32]
    """``(H, W)`` in [0, 1]: where confident matches carry it; soft, with its steps on edges of B."""
    flow: NDArray[np.float32]
    """``(H, W, 2)``: (u, v) in pixels from every pixel of B to its place in A."""

    def picture(self, image_b: Image, outside: Outside = "warped") -> Image:
        """``(H, W, 3)`` BGR, or ``(H, W, 4)`` BGRA with the mask as alpha where ``outside`` is
        ``transparent``."""
        if outside == "transparent":
            return np.dstack([self.warped, np.asarray(np.rint(self.mask * 255), np.uint8)])
        return self.warped if outside == "warped" else laid_over(self.warped, image_b, self.mask)


def align(result: Correspondences, image_a: GivenPicture, image_b: GivenPicture) -> Alignment:
    """Bring A into the shape of B; both pictures are those that were given to the matcher.

    Raises :class:`ArgumentError` for pictures of other sizes, or of more than 32,766 pixels a side.
    """
    image_a, image_b = as_image(image_a), as_image(image_b)
    result.check_size("a", image_a)
    result.check_size("b", image_b)
    check_remap(result.size_a, result.size_b)
    found = result.smooth_map()
    targets = found.dense_targets("b")
    warped = remap(image_a, targets)
    flow = targets - geometry.cell_pixels(result.size_b, result.size_b).astype(np.float32)
    return Alignment(warped, soft_mask(found.dense_support("b"), image_b), flow)
