"""Pairs of views of single photographs, related by a known warp, which gives the keypoints.

Coordinates in this file are normalised: (x, y) in [-1, 1], where ±1 are the centres of the outermost
pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from dccnet.evaluation.pairs import Pair, Picture
from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.arrays import Points as PixelPoints
from dccnet.runtime.errors import DataError
from dccnet.runtime.geometry import Size, cell_pixels
from dccnet.runtime.images import read_image
from dccnet.runtime.remap import check_remap

Points = Floats
"""``(N, 2)``: normalised (x, y)."""
Warp = Callable[[Points], Points]

# Ranges chosen by eye so that most of one view stays visible in the other.
ROTATION = np.deg2rad(25)
LOG_SCALE = 0.25
SHEAR = 0.15
SHIFT = 0.15
CORNER_JITTER = 0.15
CONTROL_JITTER = 0.12
VIEW = (0.6, 0.85)  # side of the source view, as a fraction of the photograph's
KEYPOINTS = 25
INSIDE = 0.95  # largest normalised coordinate of a keypoint in the source view
ZOOM = (0.75, 1.0)  # side of the warped view of a whole picture, as a fraction of the picture's
LATTICE = 16  # points of the warped view along each axis


def synthetic_pairs(
    photographs: Sequence[str | os.PathLike[str]], count: int, seed: int, size: Size
) -> list[Pair]:
    """``count`` pairs of views of ``size`` (height, width) in pixels, taking the photographs in turn.

    The source is a random crop. The target is a random affine map, homography or thin-plate spline of it.
    Both have photometric changes. The warp determines the keypoints. The same arguments return the same
    pairs. Raises :class:`DataError` if there are no photographs.
    """
    if not photographs:
        raise DataError("synthetic pairs need at least one photograph")
    return [synthetic_pair(Path(photographs[i % len(photographs)]), i, seed, size) for i in range(count)]


def split_photographs(paths: Sequence[Path], seed: int) -> tuple[list[Path], list[Path]]:
    """Photographs for training, and a random fifth of them, chosen by ``seed``, for validation.

    With fewer than five, both sets are all the photographs; the warps still differ.
    """
    paths = sorted(paths)  # the order in which earlier runs shuffled them
    shuffled = [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]
    held_out = shuffled[: len(paths) // 5]
    return (shuffled[len(held_out) :], held_out) if held_out else (paths, paths)


def synthetic_pair(photograph: Path, index: int, seed: int, size: Size) -> Pair:
    """Pair number ``index`` of :func:`synthetic_pairs`, of the file ``photograph``."""
    rng = np.random.default_rng([seed, index])
    view = _random_view(rng)
    warp = random_warp(rng)  # from the target view to the source view
    target_points = rng.uniform(-1, 1, (4 * KEYPOINTS, 2))
    source_points = warp(target_points)
    visible = np.flatnonzero((np.abs(source_points) <= INSIDE).all(axis=1))[:KEYPOINTS]
    load = partial(read_image, photograph)
    source = partial(_render, load, view, size, (seed, index, 0))
    target = partial(_render, load, Chain(warp, view), size, (seed, index, 1))
    key = f"{photograph} seed {seed} pair {index} {size}"
    return Pair(
        Picture(f"{key} source", source, photograph),
        Picture(f"{key} target", target, photograph),
        category=str(photograph),
        source_points=to_pixels(source_points[visible], size),
        target_points=to_pixels(target_points[visible], size),
    )


@dataclass(frozen=True, slots=True)
class View:
    """A picture transformed by a known warp."""

    picture: Picture
    points: Points
    """``(N, 2)``, normalised (x, y): a lattice of points in the view, those that lie inside the picture."""
    truth: Points
    """The same points in the original picture."""
    warp: Warp
    """From the view to the original picture."""


def warped_view(picture: Picture, index: int, seed: tuple[int, int], size: Size) -> View:
    """View number ``index`` of a picture, of ``size`` (height, width): a random warp, other colours.

    Views with an odd ``index`` are mirrored. The same ``index`` and ``seed`` return the same view.
    """
    rng = np.random.default_rng([*seed, index])
    side = rng.uniform(*ZOOM)
    place = Affine(np.diag([-side if index % 2 else side, side]), rng.uniform(side - 1, 1 - side, 2))
    warp = Chain(random_warp(rng), place)
    points = lattice((LATTICE, LATTICE))
    truth = warp(points)
    inside = (np.abs(truth) <= 1).all(axis=1)
    drawn = partial(_render, picture.load, warp, size, (*seed, index))
    key = f"{picture.key} seed {seed} view {index} {size}"
    return View(Picture(key, drawn, picture.file), points[inside], truth[inside], warp)


def lattice(grid: Size) -> Points:
    """``(h·w, 2)``: evenly spaced points, row-major, of a grid (h, w) whose corners are the picture's."""
    y, x = np.mgrid[-1 : 1 : grid[0] * 1j, -1 : 1 : grid[1] * 1j]
    return np.stack([x.ravel(), y.ravel()], axis=1)


def random_warp(rng: np.random.Generator) -> Warp:
    """An affine map, followed in two of three cases by a homography or a thin-plate spline."""
    affine = _random_affine(rng)
    bend = rng.choice(["none", "homography", "tps"])
    if bend == "homography":
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
        moved = corners + rng.uniform(-CORNER_JITTER, CORNER_JITTER, (4, 2))
        return Chain(_Homography(corners, moved), affine)
    if bend == "tps":
        y, x = np.mgrid[-1:1:3j, -1:1:3j]
        controls = np.stack([x.ravel(), y.ravel()], axis=1)
        moved = controls + rng.uniform(-CONTROL_JITTER, CONTROL_JITTER, controls.shape)
        return Chain(_ThinPlateSpline(controls, moved), affine)
    return affine


class Chain:
    """One map after another."""

    def __init__(self, first: Warp, second: Warp) -> None:
        self.first, self.second = first, second

    def __call__(self, points: Points) -> Points:
        return self.second(self.first(points))


class Affine:
    """``matrix @ point + shift``; ``matrix`` is 2×2."""

    def __init__(self, matrix: Floats, shift: Floats) -> None:
        self.matrix, self.shift = matrix, shift

    def __call__(self, points: Points) -> Points:
        moved: Points = points @ self.matrix.T + self.shift
        return moved


def _random_affine(rng: np.random.Generator) -> Warp:
    angle, shear = rng.uniform(-ROTATION, ROTATION), rng.uniform(-SHEAR, SHEAR)
    scale = np.exp(rng.uniform(-LOG_SCALE, LOG_SCALE, 2))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.array([[1, shear], [0, 1]]) @ np.diag(scale)
    return Affine(matrix, rng.uniform(-SHIFT, SHIFT, 2))


class _Homography:
    def __init__(self, before: Points, after: Points) -> None:
        self.matrix = cv2.getPerspectiveTransform(before.astype(np.float32), after.astype(np.float32))

    def __call__(self, points: Points) -> Points:
        mapped = np.c_[points, np.ones(len(points))] @ self.matrix.T
        divided: Points = mapped[:, :2] / mapped[:, 2:]
        return divided


class _ThinPlateSpline:
    """The smoothest map from ``before`` to ``after``, points ``(n, 2)`` (Bookstein 1989)."""

    def __init__(self, before: Points, after: Points) -> None:
        n = len(before)
        system = np.zeros((n + 3, n + 3))
        system[:n, :n] = _tps_kernel(before, before)
        system[:n, n:] = np.c_[np.ones(n), before]
        system[n:, :n] = system[:n, n:].T
        self.controls = before
        self.weights = np.linalg.solve(system, np.r_[after, np.zeros((3, 2))])

    def __call__(self, points: Points) -> Points:
        basis = np.c_[_tps_kernel(points, self.controls), np.ones(len(points)), points]
        moved: Points = basis @ self.weights
        return moved


def _tps_kernel(a: Points, b: Points) -> Floats:
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    kernel: Floats = squared * np.log(np.maximum(squared, np.finfo(float).tiny)) / 2
    return kernel


def _random_view(rng: np.random.Generator) -> Warp:
    """Map from the source view to the photograph."""
    half = rng.uniform(*VIEW, 2)
    return Affine(np.diag(half), rng.uniform(half - 1, 1 - half))


def _render(load: Callable[[], Image], warp: Warp, size: Size, seed: Sequence[int]) -> Image:
    image = load()
    pixels = cell_pixels(size, size).reshape(-1, 2)
    check_remap(image.shape[:2], size)
    where = to_pixels(warp(normalised(pixels, size)), (image.shape[0], image.shape[1]))
    where = where.reshape(*size, 2).astype(np.float32)
    drawn = cv2.remap(
        image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return photometric_change(np.asarray(drawn, np.uint8), np.random.default_rng(seed))


def photometric_change(image: Image, rng: np.random.Generator) -> Image:
    """Random gain per colour channel, gamma, contrast, brightness and a little noise."""
    x = image.astype(np.float32) / 255
    x = x ** np.exp(rng.uniform(-0.3, 0.3))
    x = (x - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.uniform(-0.1, 0.1)
    x = x * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    x += rng.normal(0, rng.uniform(0, 0.03), x.shape).astype(np.float32)
    changed: Image = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    return changed


def normalised(points: PixelPoints, size: Size) -> Points:
    """Pixels of a picture of ``size`` (height, width) as normalised points."""
    return 2 * points / [size[1] - 1, size[0] - 1] - 1


def to_pixels(points: Points, size: Size) -> PixelPoints:
    """Normalised points in pixels of a picture of ``size`` (height, width)."""
    return (points + 1) / 2 * [size[1] - 1, size[0] - 1]
