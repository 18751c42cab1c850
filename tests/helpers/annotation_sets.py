"""Annotations that tests write to files and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dccnet.runtime.annotations.model import AnnotationSet, Category, Instance, Picture
from dccnet.runtime.annotations.run_lengths import RunLengths

SIZE = (40, 60)
BIRD = Category("bird", ("beak", "eye <&> brow", "tail"), ((0, 1), (1, 2)), "animal")


def bird_mask() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[5:20, 7:33] = True
    mask[8, 9] = False
    mask[39, 59] = True
    return mask


def bird(score: float | None = 0.85, box: bool = True, mask: bool = True) -> Instance:
    """Two points that count, and one that is less confident than asked for."""
    return Instance(
        "bird",
        np.array([[1.5, 2.0], [30.0, 20.25], [50.0, 30.0]]),
        np.array([2, 1, 0], np.uint8),
        np.array([1.0, 2.0, 30.5, 20.0]) if box else None,
        RunLengths.of(bird_mask()) if mask else None,
        None if score is None else np.array([0.9, 0.75, 0.25], np.float32),
        score,
    )


def birds(root: Path = Path()) -> AnnotationSet:
    """Two pictures of one name in two folders, one with a bird; and one that could not be read."""
    return AnnotationSet(
        (BIRD,),
        (
            Picture("a/x.jpg", SIZE, (bird(),), references={"r.jpg": 0.8}),
            Picture("b/x.jpg", (30, 20)),
            Picture("c.jpg", problem="c.jpg is empty (0 bytes)"),
        ),
        root,
    )
