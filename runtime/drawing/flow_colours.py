"""Dense flow in the usual colours: the wheel of the Middlebury benchmark (Baker et al., IJCV 2011)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Image

# From each of the six pure colours to the next, in RGB, in this number of steps.
_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))
_STEPS = (15, 6, 4, 11, 13, 6)
_DIMMED = 0.75
"""Brightness of colours of flow that is longer than the longest."""


def flow_colours(flow: NDArray[np.float32], longest: float) -> Image:
    """``(H, W, 2)`` flow (u, v) in pixels -> ``(H, W, 3)`` uint8 BGR.

    The direction is the hue, the length the saturation: white at 0, full at ``longest`` pixels, darker
    beyond. Black where the flow is not finite.
    """
    known = np.asarray(np.isfinite(flow).all(axis=-1))
    u, v = np.moveaxis(np.where(known[..., None], flow, 0) / max(longest, 1e-9), -1, 0)
    length = np.hypot(u, v)[..., None]
    wheel = _wheel()
    place = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    lower = np.floor(place).astype(np.intp)
    share = (place - lower)[..., None]
    hue = (1 - share) * wheel[lower] + share * wheel[(lower + 1) % len(wheel)]
    colours = np.where(length <= 1, 1 - length * (1 - hue), _DIMMED * hue)
    colours[~known] = 0
    return np.asarray(np.floor(255 * colours)[..., ::-1], np.uint8)


def flow_wheel(side: int) -> Image:
    """A disc of ``side`` pixels with the colours of all flows up to the longest, on white: uint8 BGR."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    wheel = flow_colours(flow, 1.0)
    wheel[np.linalg.norm(flow, axis=-1) > 1] = 255
    return wheel


def _wheel() -> Floats:
    """``(55, 3)``: RGB in [0, 1]."""
    following = [*_CORNERS[1:], _CORNERS[0]]
    parts = [
        np.floor(np.array(a) + (np.subtract(b, a) * np.arange(n)[:, None]) / n)
        for a, b, n in zip(_CORNERS, following, _STEPS, strict=True)
    ]
    wheel: Floats = np.concatenate(parts) / 255
    return wheel
