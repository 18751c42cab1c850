"""Photographs from scikit-image, and a stereo pair and a video with known true matches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dccnet.evaluation.photographs import photograph, scikit_image_data
from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.images import write_image

TRAINING = ("astronaut", "camera", "coins", "gravel", "rocket", "retina", "brick", "page")
HELD_OUT = ("cat", "coffee")

VIDEO_SIZE = (640, 480)
"""(width, height) in pixels."""
VIDEO_FRAMES = 75
VIDEO_RATE = 25.0


@dataclass(frozen=True, slots=True, eq=False)
class KnownPair:
    """Two pictures, and matching points in A and B: ``(N, 2)`` pixels each."""

    image_a: Image
    image_b: Image
    points_a: Points
    points_b: Points


def write_photographs(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write_image(folder / f"{name}.png", photograph(name))


def stereo_pair(spacing: int = 12) -> KnownPair:
    """A motorcycle from two viewpoints (Middlebury 2014); the true points are its measured disparity.

    Points lie on a lattice of ``spacing`` pixels.
    """
    left, right, disparity = scikit_image_data().stereo_motorcycle()
    y, x = np.mgrid[spacing // 2 : left.shape[0] : spacing, spacing // 2 : left.shape[1] : spacing]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    shift = disparity[points[:, 1], points[:, 0]]
    moved = points - np.c_[shift, np.zeros_like(shift)]
    known = np.isfinite(shift) & (moved[:, 0] >= 0)
    return KnownPair(
        np.ascontiguousarray(left[..., ::-1]),
        np.ascontiguousarray(right[..., ::-1]),
        points[known].astype(np.float64),
        moved[known].astype(np.float64),
    )


def camera_path(image: Image) -> Iterator[tuple[Image, Floats]]:
    """Frames of a camera that moves over a photograph, and the 3×3 homographies photograph -> frame.

    The first frame is a centred view, which serves as the reference.
    """
    width, height = VIDEO_SIZE
    for t in np.linspace(0, 1, VIDEO_FRAMES):
        homography = _camera(t, (image.shape[1], image.shape[0]))
        frame = cv2.warpPerspective(
            image, homography, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        yield np.asarray(frame, np.uint8), homography


def _camera(t: float, size: tuple[int, int]) -> Floats:
    """The homography at time ``t`` in [0, 1]: pan, zoom, roll and a little tilt over a picture.

    ``size`` is the picture's (width, height) in pixels.
    """
    width, height = VIDEO_SIZE
    turn = 2 * np.pi * t
    zoom = 1.25 * max(width / size[0], height / size[1]) * (1 + 0.12 * np.sin(turn))
    roll = np.deg2rad(10) * np.sin(turn)
    to_centre = np.array([[1, 0, -(size[0] - 1) / 2], [0, 1, -(size[1] - 1) / 2], [0, 0, 1]])
    cos, sin = zoom * np.cos(roll), zoom * np.sin(roll)
    rotate = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    tilt = np.eye(3)
    tilt[2, :2] = 1e-4 * np.sin(turn), 1e-4 * (1 - np.cos(turn))
    x, y = 40 * np.sin(turn), 25 * (1 - np.cos(turn))
    back = np.array([[1, 0, (width - 1) / 2 + x], [0, 1, (height - 1) / 2 + y], [0, 0, 1]])
    homography: Floats = back @ tilt @ rotate @ to_centre
    return homography
