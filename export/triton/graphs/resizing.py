"""The graph that turns pictures of any size into frames: :mod:`dccnet.runtime.frames` in ONNX.

It takes the same two rows and columns with the same weights as the runtime, so that frames are equal to the
last bit. ONNX's own ``Resize`` rounds some values to the next grey level (docs/triton.md).
"""

from __future__ import annotations

import numpy as np

from dccnet.export.triton.graphs import arrays as op
from dccnet.export.triton.graphs.arrays import Array
from dccnet.export.triton.graphs.indexing import batch_of
from dccnet.runtime.frames import UINT8, FrameFormat

_Taps = tuple[Array, Array, Array]


def frame_of(picture: Array, frames: FrameFormat) -> Array:
    """``(B, H0, W0, 3)`` uint8 -> ``(B, H, W, 3)`` of the frames' size and type."""
    taps = _taps if frames.dtype == UINT8 else _pytorch_taps
    height, width = (op.take(op.shape_of(picture), axis, axis=0) for axis in (1, 2))
    y0, y1, down = taps(height, frames.size[0])
    x0, x1, right = taps(width, frames.size[1])
    # Rows are blended before columns, as in the runtime, but only where columns are taken.
    top, bottom = (op.take(picture, rows, axis=1) for rows in (y0, y1))
    before, after = (_between(top, bottom, columns, down) for columns in (x0, x1))
    # ONNX Runtime is slow where it repeats single values for the three colours: the weights are repeated.
    colours = picture.graph.constant([frames.size[1], 3], np.int64)
    frame = (after - before) * op.broadcast_to(op.reshape(right, [-1, 1]), colours) + before
    return op.astype(frame + 0.5, np.uint8) if frames.dtype == UINT8 else frame


def _between(top: Array, bottom: Array, columns: Array, down: Array) -> Array:
    """``(B, H, W, 3)`` float32: columns of two rows of the picture, blended."""
    first, second = (op.astype(op.take(rows, columns, axis=2), np.float32) for rows in (top, bottom))
    return (second - first) * op.reshape(down, [-1, 1, 1]) + first


def size_of(picture: Array) -> Array:
    """``(B, 2)`` int64: (height, width) of ``(B, H0, W0, 3)``."""
    size = op.expand_dims(op.take(op.shape_of(picture), [1, 2], axis=0), axis=0)
    two = picture.graph.constant([2], np.int64)
    return op.broadcast_to(size, op.concat([batch_of(picture), two], axis=0))


def _taps(side: Array, target: int) -> _Taps:
    step = op.astype(side - 1, np.float64) / max(target - 1, 1)
    return _taps_at(step * np.arange(target), side)


def _pytorch_taps(side: Array, target: int) -> _Taps:
    """At the positions that PyTorch computes in float32, as ``runtime/geometry.py`` does."""
    step, index = np.float64(np.float32(2 / max(target - 1, 1))), np.arange(target)
    from_end = 1 - step * (target - 1 - index)
    normalised = np.where(index < target // 2, step * index - 1, from_end).astype(np.float32)
    half = op.astype(op.astype(side - 1, np.float64) / 2, np.float32)
    return _taps_at(half * (normalised + np.float32(1)), side)


def _taps_at(position: Array, side: Array) -> _Taps:
    lower = op.minimum(op.astype(position, np.int64), op.maximum(side - 2, 0))
    weight = op.astype(position - op.astype(lower, position.dtype), np.float32)
    return lower, op.minimum(lower + 1, side - 1), weight
