"""Drawings of everything that was found in a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.alignment.mask import soft_mask
from dccnet.runtime.arrays import Image, Points
from dccnet.runtime.checks import Side
from dccnet.runtime.drawing.matches import draw_matches
from dccnet.runtime.drawing.styles import STYLES, Style, draw_grid, draw_truth, draw_warp
from dccnet.runtime.errors import UsageError
from dccnet.runtime.features import check_image
from dccnet.runtime.remap import remap

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences


def draw_result(result: Correspondences, image_a: Image, image_b: Image, limit: int, style: Style) -> Image:
    """:meth:`Correspondences.draw`."""
    _check_pictures(result, image_a, image_b)
    if style == "lines":
        return draw_matches(image_a, image_b, result.mutual(), limit)
    if style == "grid":
        cells, targets = result.one_way("a").cells(), result.one_way("b").targets(result.rule)
        return draw_grid(image_a, image_b, cells, targets, result.size_a, _shown_confidence(result))
    if style == "warp":
        found = result.smooth_map()
        warped = remap(image_a, found.dense_targets("b"))
        return draw_warp(image_a, image_b, warped, soft_mask(found.dense_support("b"), image_b))
    raise UsageError(f"there is no drawing style '{style}': choose from {', '.join(STYLES)}")


def draw_result_and_truth(
    result: Correspondences,
    image_a: Image,
    image_b: Image,
    points: Points,
    truth: Points,
    within: float,
    from_: Side,
) -> Image:
    """:meth:`Correspondences.draw_truth`, of checked points."""
    _check_pictures(result, image_a, image_b)
    images = (image_a, image_b) if from_ == "a" else (image_b, image_a)
    return draw_truth(*images, points, result.transfer(points, from_), truth, within)


def _check_pictures(result: Correspondences, image_a: Image, image_b: Image) -> None:
    check_image(image_a)
    result.check_size("a", image_a)
    check_image(image_b)
    result.check_size("b", image_b)


def _shown_confidence(result: Correspondences) -> NDArray[np.float32] | None:
    """``(hB, wB)``: confidence in the matches of B's cells, 0 where they are left out."""
    confidence = result.confidence_b
    if confidence is not None and result.least_confidence is not None:
        confidence[confidence < result.least_confidence] = 0
    return confidence
