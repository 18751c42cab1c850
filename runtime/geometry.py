"""Positions of grid cells in pictures, and the transfer of points by matches of cells (spec §2).

Pixels are 0-based, (x, y), x right, y down, pixel centres at integers. Grids are corner-aligned:
cell 0 sits on pixel 0 and the last cell on the last pixel of its axis.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccnet.runtime.arrays import Floats, Points

Size = tuple[int, int]
"""(height, width): of a picture in pixels, of a grid in cells."""
_Taps = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]
"""For every target position: the pixel before, the pixel after, and the weight of the latter."""


def pixels_per_cell(size: Size, grid: Size) -> Floats:
    """Distance between neighbouring cells, ``(2,)``: (x, y) in pixels."""
    return np.array([(size[1] - 1) / max(grid[1] - 1, 1), (size[0] - 1) / max(grid[0] - 1, 1)], np.float64)


def extent(size: Size) -> Floats:
    """Distance between the first and the last pixel, ``(2,)``: (x, y), above 0."""
    distance: Floats = np.maximum(
        np.array([size[1] - 1, size[0] - 1], np.float64), np.finfo(np.float64).tiny
    )
    return distance


def cell_pixels(grid: Size, size: Size) -> Floats:
    """``(h, w, 2)``: pixel position (x, y) of every cell of ``grid`` in a picture of ``size``."""
    y, x = np.mgrid[: grid[0], : grid[1]]
    return np.stack([x, y], axis=-1) * pixels_per_cell(size, grid)


def index_pixels(index: NDArray[np.integer[Any]], grid: Size, size: Size) -> Floats:
    """Pixel positions (x, y) of row-major cell indices: shape of ``index`` + ``(2,)``."""
    row, column = np.divmod(index, grid[1])
    return np.stack([column, row], axis=-1) * pixels_per_cell(size, grid)


def pixels_to_cells(points: Points, size: Size, grid: Size) -> Points:
    """Positions ``(N, 2)`` in cells of ``grid``, from pixels (x, y) of a picture of ``size``."""
    # A picture of one row or column has no distance between its pixels.
    positions: Points = points / np.maximum(pixels_per_cell(size, grid), np.finfo(np.float64).tiny)
    return positions


def transfer(points: ArrayLike, targets: NDArray[np.floating[Any]], size: Size) -> Points:
    """Transfer points to the other picture by blending the matches of the four cells around each point.

    ``points`` is ``(N, 2)`` in pixels of a picture of ``size``; ``targets`` ``(h, w, 2)`` is the match of
    each cell of that picture, in pixels of the other. Returns ``(N, 2)`` in pixels of the other picture.

    The rule is that of the benchmarks (spec §2): the lower cell is the last one strictly before the
    point, and the weight of a corner is the absolute distance to the opposite corner, over the sum of all.
    """
    points = np.asarray(points, np.float64)
    height, width = targets.shape[:2]
    position = pixels_to_cells(points, size, (height, width))
    last_lower = np.maximum(np.array([width, height]) - 2, 0)
    lower = np.clip(np.ceil(position) - 1, 0, last_lower).astype(np.intp)
    upper = np.minimum(lower + 1, [width - 1, height - 1])
    (x0, y0), (x1, y1) = lower.T, upper.T
    # The distance to one corner is the weight of the opposite one.
    to_lower, to_upper = np.abs(position - lower), np.abs(position - (lower + 1))
    (wx1, wy1), (wx0, wy0) = to_lower.T, to_upper.T
    weights = np.stack([wx0 * wy0, wx1 * wy0, wx0 * wy1, wx1 * wy1], axis=-1)
    corners = np.stack([targets[y0, x0], targets[y0, x1], targets[y1, x0], targets[y1, x1]], axis=1)
    blended: Points = np.einsum("nk,nkc->nc", weights, corners)
    blended /= weights.sum(axis=1, keepdims=True)
    return blended


GATHER_FROM = 4.0
"""How many times as wide as its frame a picture must be to be resized from single pixels, which is then
faster than from whole rows (`benchmarks/picture_check.py`)."""


def resize(image: NDArray[Any], size: Size) -> NDArray[np.float32]:
    """Bilinear resampling with aligned corners and without antialiasing, as in training (spec §1.1).

    ``(H, W, C)`` of any real dtype -> ``(height, width, C)`` float32. Equals
    ``grid_sample(affine_grid(identity), align_corners=True)``. OpenCV's ``resize`` aligns pixel edges
    instead, and its ``remap`` rounds positions to 1/32 pixel.
    """
    return _blend(image, _taps(image.shape[0], size[0]), _taps(image.shape[1], size[1]))


def resize_as_pytorch(image: NDArray[Any], size: Size) -> NDArray[np.float32]:
    """:func:`resize` at the positions that PyTorch computes in float32, as the authors' code does.

    The positions are PyTorch's to the last bit on x86 processors. The exact ones lie up to 0.0003 pixels
    away in a picture of 4000 pixels, which changes single best matches.
    """
    return _blend(image, _pytorch_taps(image.shape[0], size[0]), _pytorch_taps(image.shape[1], size[1]))


def _blend(image: NDArray[Any], rows_at: _Taps, columns_at: _Taps) -> NDArray[np.float32]:
    x0, x1, wx = columns_at
    if image.shape[1] > GATHER_FROM * len(x0) and image.flags.c_contiguous:
        # Only the pixels that are needed: of large pictures, these are few.
        left, right = _blended_rows(image, rows_at, x0), _blended_rows(image, rows_at, x1)
    else:
        # Rows first: where the picture shrinks, that leaves less to do for the columns.
        rows = _blended_rows(image, rows_at)
        left, right = rows.take(x0, axis=1), rows.take(x1, axis=1)
    right -= left
    right *= wx[:, None]
    right += left
    return right


def _blended_rows(
    image: NDArray[Any], rows_at: _Taps, columns: NDArray[np.intp] | None = None
) -> NDArray[np.float32]:
    """Rows between those of ``image``, or of these rows only the pixels in ``columns``."""
    y0, y1, weight = rows_at

    def rows(y: NDArray[np.intp]) -> NDArray[np.float32]:
        if columns is None:
            return image[y].astype(np.float32)
        pixels = image.reshape(-1, image.shape[2])
        gathered: NDArray[Any] = pixels.take((y * image.shape[1])[:, None] + columns, axis=0)
        return gathered.astype(np.float32)

    top, between = rows(y0), rows(y1)
    between -= top
    between *= weight[:, None, None]
    between += top
    return between


def resize_uint8(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """:func:`resize`, rounded to the nearest integer."""
    if image.shape[:2] == size:
        return image
    resized = resize(image, size)
    resized += 0.5
    return resized.astype(np.uint8)


def mirror(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture ``(H, W, C)`` mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def apply_homography(homography: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map points ``(N, 2)``, in pixels, by a 3×3 homography."""
    mapped = np.c_[points, np.ones(len(points))] @ homography.T
    divided: NDArray[np.float64] = mapped[:, :2] / mapped[:, 2:]
    return divided


@lru_cache(maxsize=32)
def _taps(side: int, target: int) -> _Taps:
    return _taps_at(np.arange(target) * ((side - 1) / max(target - 1, 1)), side)


@lru_cache(maxsize=32)
def _pytorch_taps(side: int, target: int) -> _Taps:
    # torch.linspace(-1, 1, target): counted from both ends, with one rounding (a fused multiply-add).
    step, index = np.float64(np.float32(2 / max(target - 1, 1))), np.arange(target)
    from_end = 1 - step * (target - 1 - index)
    normalised = np.where(index < target // 2, step * index - 1, from_end).astype(np.float32)
    # grid_sample: from [-1, 1] to pixels.
    return _taps_at((normalised + np.float32(1)) * np.float32((side - 1) / 2), side)


def _taps_at(position: NDArray[np.floating[Any]], side: int) -> _Taps:
    lower = np.minimum(position.astype(np.intp), max(side - 2, 0))
    weight = position - lower.astype(position.dtype)
    return lower, np.minimum(lower + 1, side - 1), weight.astype(np.float32)
