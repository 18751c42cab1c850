"""Pairs of views of one photograph, as files: their warp gives the true matches, without annotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dccnet.evaluation.making_pairs.choosing import Chosen
from dccnet.evaluation.making_pairs.photographs import Photograph
from dccnet.evaluation.making_pairs.writing import write_pairs
from dccnet.evaluation.pairs import Picture
from dccnet.runtime.arrays import Points
from dccnet.runtime.images import read_image, write_image

LIST = "pairs.csv"
LONGER_SIDE = 400
"""Of the views, in pixels, unless the photograph is smaller."""


def write_warps(photographs: Sequence[Photograph], folder: Path, views: int, seed: int) -> Iterator[Chosen]:
    """Write ``views`` pairs of each photograph, and at the end their list, :data:`LIST`; yields each pair.

    The source is a crop, the target a random warp of it, both with other colours
    (:mod:`dccnet.training.synthetic`); keypoints are 0-based. The same arguments write the same files.
    Raises :class:`DccError` for a photograph that cannot be read.
    """
    from dccnet.training.synthetic import synthetic_pair

    made = []
    for number, photograph in enumerate(photographs):
        height, width = read_image(photograph.file).shape[:2]
        scale = min(1.0, LONGER_SIDE / max(height, width))
        size = max(round(height * scale), 2), max(round(width * scale), 2)
        for view in range(views):
            pair = synthetic_pair(photograph.file, number * views + view, seed, size)
            assert pair.source_points is not None and pair.target_points is not None
            sides = (pair.source, "source", pair.source_points), (pair.target, "target", pair.target_points)
            name = f"images/{number:04d}-{view}"
            written = [
                _written(folder / f"{name}-{side}.jpg", picture, photograph.category, points)
                for picture, side, points in sides
            ]
            made.append(Chosen(*written))
            yield made[-1]
    write_pairs(folder / LIST, made, annotated=True)


def _written(path: Path, picture: Picture, category: str, points: Points) -> Photograph:
    write_image(path, picture.load())
    return Photograph(path, category, {str(i): (float(x), float(y)) for i, (x, y) in enumerate(points)})
