"""Smooth maps of pairs of different things: folds, accuracy, and seconds.

    python benchmarks/morph.py PAIRS.csv --morphs 10 --sheet morphs.png

PAIRS.csv is a list with keypoints in PF-PASCAL's columns, 0-based. Printed are, over all pairs, PCK (box)
of the keypoints of B carried to A by the refined transfer and by the smooth map, and the least Jacobian
determinant of the smooth maps between neighbouring pixels, where confidence is at least 0.7 and everywhere.
Then, for some pairs of which no two share a picture, the same one by one; --sheet draws their morphs, to
look at. At last, the time of a morph of 1920x1080 pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from dccnet.evaluation.pairs import Pair, Picture, read_pairs
from dccnet.evaluation.pck import pair_pck
from dccnet.runtime.alignment.morph import Morph, MorphSettings
from dccnet.runtime.alignment.smooth_map import SmoothMap
from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.confidence import VISIBLE
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.images import write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.video.writer import video_writer

ALPHA = 0.1
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)
HEIGHT = 160  # of a morph in the sheet
FULL_HD = (1920, 1080)


def areas(result: Correspondences, found: SmoothMap) -> tuple[float, float]:
    """The least Jacobian determinant from B to A where matches are confident, and everywhere."""
    dense = found.dense_targets("b").astype(np.float64)
    along, down = np.diff(dense, axis=1)[:-1], np.diff(dense, axis=0)[:, :-1]
    area = along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0]
    confidence = result.confidence_map("b")
    assert confidence is not None, "use a model with confidence"
    confident = area[confidence[:-1, :-1] >= VISIBLE]
    return float(confident.min(initial=np.inf)), float(area.min())


def hits(pair: Pair, result: Correspondences, found: SmoothMap) -> Floats:
    """PCK in percent of this pair: by the refined transfer, and by the smooth map."""
    source, target = pair.source_points, pair.target_points
    assert source is not None and target is not None
    moved = result.transfer(target, "b", outside=True), found.carry(target, "b")
    return np.array([100 * pair_pck(points, source, result.size_a, ALPHA, "bbox") for points in moved])


def name_of(picture: Picture) -> str:
    return picture.key if picture.file is None else picture.file.name


def apart(pairs: list[Pair], count: int) -> list[Pair]:
    """Pairs of which no two share a picture, spread over the list."""
    used: set[str] = set()
    found = []
    for number in np.random.default_rng(0).permutation(len(pairs)):
        names = {name_of(pairs[number].source), name_of(pairs[number].target)}
        if len(found) < count and not used & names:
            used |= names
            found.append(pairs[number])
    return found


def row_of(morph: Morph) -> Image:
    frames = [morph.at(t) for t in TIMES]
    width = round(HEIGHT * frames[0].shape[1] / frames[0].shape[0])
    return np.hstack([cv2.resize(frame, (width, HEIGHT)) for frame in frames])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every Nth pair")
    parser.add_argument("--morphs", type=int, default=10)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    pairs = read_pairs(options.pairs)[:: options.every]
    matcher = Matcher.open()
    scores, least = [], []
    for pair in pairs:
        result = matcher.match(pair.source.load(), pair.target.load())
        found = result.smooth_map()
        scores.append(hits(pair, result, found))
        least.append(areas(result, found))
    refined, smooth = np.mean(scores, axis=0)
    confident, everywhere = np.min(least, axis=0)
    print(f"{len(pairs)} pairs: PCK@{ALPHA} refined {refined:.1f}, smooth map {smooth:.1f}")
    print(f"least area where confident {confident:.3f}, anywhere {everywhere:.3f}")
    rows = []
    for pair in apart(pairs, options.morphs):
        a, b = pair.source.load(), pair.target.load()
        result = matcher.match(a, b)
        confident, everywhere = areas(result, result.smooth_map())
        print(f"{name_of(pair.source)} {name_of(pair.target)}: {confident:.3f} {everywhere:.3f}")
        rows.append(row_of(Morph(result, a, b, MorphSettings(longest=240))))
    if options.sheet is not None:
        width = max(row.shape[1] for row in rows)
        write_image(
            options.sheet, np.vstack([np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0))) for r in rows])
        )
    a, b = (cv2.resize(picture.load(), FULL_HD) for picture in (pair.source, pair.target))
    started, cpu = time.perf_counter(), time.process_time()
    morph = Morph(matcher.match(a, b), a, b, MorphSettings())
    with tempfile.TemporaryDirectory() as scratch, video_writer(Path(scratch) / "a.mp4", 25) as writer:
        for frame in morph.frames():
            writer.write(frame)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"{morph.count} frames of {FULL_HD[0]}x{FULL_HD[1]}: {seconds:.1f} s, {cpu:.1f} s of CPU time")


if __name__ == "__main__":
    main()
