"""The legend beneath drawn matches: how many there are, and what colour and opacity mean."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.drawing.canvas import BACKGROUND, blend, colours

_FONT, _INK = cv2.FONT_HERSHEY_SIMPLEX, (225, 225, 225)
_RAMP = 110  # length of a scale at the text size 1/2, in pixels


def describe(shown: int, of: int) -> str:
    """Such as ``25 of 376 matches``."""
    return f"{shown} of {of} matches" if of != shown else f"{of} matches"


def with_legend(
    drawing: Image, shown: int, of: int, confidence: NDArray[np.float32] | None, opacity: Floats
) -> Image:
    """The ``drawing`` above a line of text, with a scale of colours and, with ``confidence`` ``(N,)``, one
    of ``opacity`` ``(N,)``."""
    size = max(drawing.shape[1] / 2400, 0.4)
    height = round(64 * size)
    strip = np.empty((height, drawing.shape[1], 3), np.uint8)
    strip[:] = BACKGROUND
    x = _write(strip, round(24 * size), f"{describe(shown, of)}    colour: left to right in A", size)
    ramp = np.array(colours(max(round(2 * _RAMP * size), 2)), np.uint8)
    x = _scale(strip, x, ramp, size)
    if confidence is not None and len(confidence):
        low, high = float(confidence.min()), float(confidence.max())
        x = _write(strip, x, f"    opacity: confidence {low:.2f}", size)
        share = np.linspace(opacity.min(), opacity.max(), len(ramp))
        white, dark = np.full((1, len(ramp), 3), 255, np.uint8), np.empty((1, len(ramp), 3), np.uint8)
        dark[:] = BACKGROUND
        faded = blend(white, dark, np.rint(255 * share[None]).astype(np.uint8))[0]
        x = _scale(strip, x, faded, size)
        _write(strip, x, f"{high:.2f}", size)
    return np.vstack([drawing, strip])


def _write(strip: Image, x: int, text: str, size: float) -> int:
    """Write at the column ``x``. Returns the column after it."""
    (width, height), _ = cv2.getTextSize(text, _FONT, size, max(round(1.5 * size), 1))
    baseline = (len(strip) + height) // 2
    cv2.putText(strip, text, (x, baseline), _FONT, size, _INK, max(round(1.5 * size), 1), cv2.LINE_AA)
    return x + width


def _scale(strip: Image, x: int, ramp: NDArray[np.uint8], size: float) -> int:
    """Draw a row of colours ``(n, 3)`` at the column ``x``, as far as there is room. Returns the column
    after it."""
    gap, half = round(20 * size), round(12 * size)
    room = strip[len(strip) // 2 - half : len(strip) // 2 + half, x + gap : x + gap + len(ramp)]
    room[:] = ramp[None, : room.shape[1]]
    return x + gap + len(ramp) + gap
