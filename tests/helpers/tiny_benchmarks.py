"""Generated benchmarks of a few pairs, in the layouts of the published ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image
from dccnet.runtime.writers import encode_flo

KEYPOINTS = "source_image,target_image,class,XA,YA,XB,YB"
WIDTH, HEIGHT = 40, 30


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """Smooth random colours, which a network can tell apart."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def write(path: Path, image: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def pf_pascal(root: Path, rows: Sequence[str] | None = None, pairs: int = 3) -> Path:
    """``image_pairs/test_pairs.csv`` and its pictures, 1-based."""
    images = root / "PF-dataset-PASCAL" / "JPEGImages"
    for number in range(pairs + 1):
        write(images / f"{number}.png", picture(number))
    if rows is None:
        rows = [pascal_row(i, i + 1, i % 20 + 1) for i in range(pairs)]
    path = root / "image_pairs" / "test_pairs.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([KEYPOINTS, *rows]) + "\n")
    return path


def pascal_row(
    a: int, b: int, category: int | str, points: str = "5;20;33.5,4;15;28,6;21;30,5;16;27"
) -> str:
    folder = "PF-dataset-PASCAL/JPEGImages"
    return f"{folder}/{a}.png,{folder}/{b}.png,{category},{points}"


def pf_willow(root: Path, pairs: int = 2, columns: Sequence[str] | None = None) -> Path:
    """``test_pairs_pf.csv`` and its pictures, 1-based."""
    header = ["imageA", "imageB", *(f"{c}{i}" for c in ("XA", "YA", "XB", "YB") for i in range(1, 11))]
    lines = [",".join(header)]
    for number in range(pairs):
        names = [f"PF-dataset/car(S)/{number + side}.png" for side in (0, 1)]
        for side, name in enumerate(names):
            write(root / name, picture(number + side))
        ramp = [str(2 + 3 * i) for i in range(10)]
        values = columns or [*ramp, *ramp, *ramp, *ramp]
        lines.append(",".join([*names, *values]))
    path = root / "test_pairs_pf.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def tss(
    root: Path,
    flow: NDArray[np.float32] | None = None,
    mask: NDArray[np.uint8] | None = None,
    row: str = "1,0,1",
    groups: Sequence[str] = ("FG3DCar/a",),
    source_size: tuple[int, int] = (HEIGHT, WIDTH),
    target_size: tuple[int, int] = (HEIGHT, WIDTH),
) -> Path:
    """``test_pairs_tss.csv`` with one pair per folder: source image2, target image1, truth on image1.

    Sizes are (height, width).
    """
    lines = ["imageA,imageB,flow_direction,flip_img_A,category"]
    for name in groups:
        folder = root / "TSS_CVPR2016" / name
        write(folder / "image1.png", picture(1, *target_size[::-1]))
        write(folder / "image2.png", picture(2, *source_size[::-1]))
        write(folder / "mask1.png", np.full(target_size, 255, np.uint8) if mask is None else mask)
        truth = np.zeros((*target_size, 2), np.float32) if flow is None else flow
        (folder / "flow1.flo").write_bytes(encode_flo(truth))
        relative = folder.relative_to(root)
        lines.append(f"{relative}/image2.png,{relative}/image1.png,{row}")
    path = root / "test_pairs_tss.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def spair(root: Path, pairs: int = 2, **changes: object) -> Path:
    """``SPair-71k/PairAnnotation/test`` and its pictures; ``changes`` replace values of the JSON."""
    home = root / "SPair-71k"
    folder = home / "PairAnnotation" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(pairs):
        for side in (0, 1):
            write(home / "JPEGImages" / "cat" / f"{number + side}.png", picture(number + side))
        values = {
            "src_imname": f"{number}.png",
            "trg_imname": f"{number + 1}.png",
            "category": "cat",
            "src_kps": [[4, 3], [20, 14]],
            "trg_kps": [[5, 5], [21, 15]],
            "src_bndbox": [2, 2, 30, 20],
            "trg_bndbox": [3, 3, 33, 23],
        } | changes
        (folder / f"{number:06d}-{number}-{number + 1}:cat.json").write_text(json.dumps(values))
    return home
