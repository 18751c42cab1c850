"""Accuracy of points carried through videos with known motion, and of the detection of lost points.

    python benchmarks/propagation.py BUNDLE PHOTO... [--frames 60] [--reference previous] [--map smooth]

From each photograph a 640x480 video is made by homographies: pan, zoom, roll and tilt, far enough that
points leave the frame and return. An 11x9 lattice on the first frame is carried to every other frame.
Errors are in pixels, of points inside the frame; a point is lost if its true position is outside.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from results import save

from dccnet.runtime import Matcher, Propagation, read_image
from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.geometry import cell_pixels
from dccnet.runtime.video.propagation.settings import MAPS

SIZE = (480, 640)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--reference", choices=["first", "previous"], default="first")
    parser.add_argument("--map", choices=MAPS, default=MAPS[0])
    parser.add_argument("--json")
    options = parser.parse_args()
    matcher = Matcher.open(options.bundle)
    propagation = Propagation(map=options.map)
    rows = [
        measure(matcher, read_image(p), options.frames, options.reference, propagation)
        for p in options.photos
    ]
    errors, plain, seen_errors, reported, lost = (
        np.concatenate(parts) for parts in zip(*rows, strict=True)
    )
    hits = int((reported & lost).sum())
    result = {
        "photos": len(options.photos),
        "points": len(lost),
        "mean_error": float(errors.mean()),
        "median_error": float(np.median(errors)),
        "mean_error_of_those_told_visible": float(seen_errors.mean()),
        "mean_error_of_the_benchmarks_transfer": float(plain.mean()),
        "lost_share": float(lost.mean()),
        "lost_precision": hits / max(int(reported.sum()), 1),
        "lost_recall": hits / max(int(lost.sum()), 1),
    }
    for name, value in result.items():
        print(f"{name:40s} {value:.3f}" if isinstance(value, float) else f"{name:40s} {value}")
    save(options.json, **result)


def measure(
    matcher: Matcher, photo: Image, count: int, reference: str, propagation: Propagation
) -> tuple[NDArray[np.generic], ...]:
    """Errors of carried points, errors by the benchmarks' transfer, errors of points reported as visible.

    Then, for every point and frame, whether it is reported as lost, and whether it is lost.
    """
    views, homographies = zip(*camera(photo, count), strict=True)
    lattice = cell_pixels((9, 11), SIZE).reshape(-1, 2)
    points = np.array([319.5, 239.5]) + 0.8 * (lattice - [319.5, 239.5])
    start = "frame:0" if reference == "first" else "previous"
    stream = matcher.stream(views, start, points=points, propagation=propagation)
    errors, plain, seen, reported, lost = [], [], [], [], []
    for result in stream:
        if result.index == 0:
            continue
        truth = apply(homographies[result.index] @ np.linalg.inv(homographies[0]), points)
        inside = ((truth >= 0) & (truth <= [SIZE[1] - 1, SIZE[0] - 1])).all(axis=1)
        assert result.carried is not None and result.carried.points is not None
        carried = result.carried.points
        distance = np.linalg.norm(carried.points_b - truth, axis=1)
        errors.append(distance[inside])
        seen.append(distance[inside & carried.visible])
        before = carried.points_a
        moved = result.correspondences.transfer(before, "a", rule="cells")
        plain.append(np.linalg.norm(moved - truth, axis=1)[inside])
        reported.append(~carried.visible)
        lost.append(~inside)
    return tuple(np.concatenate(parts) for parts in (errors, plain, seen, reported, lost))


def camera(photo: Image, count: int) -> Iterator[tuple[Image, Floats]]:
    """Frames, and their homographies photograph -> frame."""
    height, width = SIZE
    fit = np.diag([width / photo.shape[1], height / photo.shape[0], 1.0])
    for t in np.linspace(0, 1, count):
        turn = 2 * np.pi * t
        angle, zoom = 0.35 * np.sin(turn), 1.25 + 0.35 * np.sin(1.5 * turn)
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        tilt = 2e-4 * np.sin(turn)
        rotate = np.array([[cos, -sin, 0], [sin, cos, 0], [tilt, tilt / 2, 1]])
        x, y = width / 2 + 220 * np.sin(turn), height / 2 + 140 * np.sin(2 * turn)
        back = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        homography = back @ rotate @ np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]]) @ fit
        view = cv2.warpPerspective(photo, homography, (width, height), borderMode=cv2.BORDER_REFLECT)
        yield np.asarray(view, np.uint8), homography


def apply(homography: Floats, points: Floats) -> Floats:
    mapped = np.c_[points, np.ones(len(points))] @ homography.T
    moved: Floats = mapped[:, :2] / mapped[:, 2:]
    return moved


if __name__ == "__main__":
    main()
