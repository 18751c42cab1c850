"""Many matches, threads, frames, sizes and openings: the same results, and memory that stays flat.

    python benchmarks/endurance.py BUNDLE [--part 1] [--only threads ...] [--json FILE]

threads    8 threads match 1,000 pairs each; every array must be that of the same pair matched alone.
openings   5,000 times a matcher is opened, used once and closed.
frames     20,000 frames of a video with points, a mask and a box; each repeats an earlier frame, whose
           results must come again.
sizes      2,000 pictures of random sizes; then, in another order, the same results.

Resident memory is flat if its peak in the last tenth is at most 2 % above that between 20 and 30 %, and no
thread and no file descriptor stays open. ``--part 0.01`` does a hundredth. Exits with 1 where results
differ or memory is not flat.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from results import save
from stream_memory import descriptors, resident_mb

from dccnet.runtime import Correspondences, Matcher
from dccnet.runtime.arrays import Image

FLAT = 1.02
THREADS, PAIRS, OPENINGS, FRAMES, SIZES = 8, 1000, 5000, 20_000, 2000
SCENES, PERIOD = 12, 100


class Watch:
    """Counts results that differ and keeps the resident memory after every call."""

    def __init__(self) -> None:
        self.different = 0
        self._resident: list[float] = []

    def compare(self, found: object, wanted: object) -> None:
        self.different += found != wanted
        self._resident.append(resident_mb())

    def row(self) -> dict[str, float]:
        early = self._resident[len(self._resident) // 5 : max(3 * len(self._resident) // 10, 1)]
        late = self._resident[-max(len(self._resident) // 10, 1) :]
        growth = max(late) / max(early or late) - 1
        return {
            "results": len(self._resident),
            "different": self.different,
            "resident_mb": round(max(late), 1),
            "growth_percent": round(100 * growth, 2),
            "failed": int(self.different > 0 or growth > FLAT - 1),
        }


def threads(bundle: str, part: float, watch: Watch) -> None:
    pictures, count = _pictures(SCENES), round(part * PAIRS)
    pairs = list(itertools.product(pictures, pictures))
    with Matcher.open(bundle) as matcher:
        alone = [_digest(matcher.match(a, b)) for a, b in pairs]

        def work(thread: int) -> None:
            order = np.random.default_rng(thread).integers(len(pairs), size=count)
            for i in order:
                digest = _digest(matcher.match(*pairs[i]))
                with lock:
                    watch.compare(digest, alone[i])

        lock = threading.Lock()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))


def openings(bundle: str, part: float, watch: Watch) -> None:
    a, b = _pictures(2)
    with Matcher.open(bundle) as matcher:
        wanted = _digest(matcher.match(a, b))
    for _ in range(round(part * OPENINGS)):
        with Matcher.open(bundle) as matcher:
            watch.compare(_digest(matcher.match(a, b)), wanted)


def frames(bundle: str, part: float, watch: Watch) -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[30:80, 40:100] = 1
    seen: dict[int, str] = {}
    with Matcher.open(bundle) as matcher:
        stream = matcher.stream(
            _video(round(part * FRAMES)), points=[[80, 60], [20, 90]], boxes=[[40, 30, 60, 50]], mask=mask
        )
        for result in stream:
            carried = result.carried
            assert carried and carried.points and carried.boxes and carried.mask
            arrays = carried.points.points_b, carried.boxes.boxes_b, carried.mask.mask
            digest = _digest(result.correspondences, *arrays)
            watch.compare(digest, seen.setdefault(result.index % PERIOD, digest))


def sizes(bundle: str, part: float, watch: Watch) -> None:
    rng, (reference, large) = np.random.default_rng(5), _pictures(2, (1500, 2000))
    shapes = [tuple(np.exp(rng.uniform(0, np.log((1500, 2000)))).astype(int)) for _ in range(SIZES)]
    shapes = shapes[: round(part * SIZES)]
    with Matcher.open(bundle) as matcher:
        reference = reference[:300, :400]

        def match(i: int) -> str:
            height, width = shapes[i]
            return _digest(matcher.match(reference, np.ascontiguousarray(large[:height, :width])))

        wanted = [match(i) for i in range(len(shapes))]
        for i in rng.permutation(len(shapes)):
            watch.compare(match(i), wanted[i])


PARTS: dict[str, Callable[[str, float, Watch], None]] = {
    "threads": threads, "openings": openings, "frames": frames, "sizes": sizes
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json")
    options = parser.parse_args()
    rows, failed = {}, False
    for name in options.only:
        with Matcher.open(options.bundle) as matcher:  # libraries open files and threads once
            matcher.match(*_pictures(2))
        gc.collect()
        before, started, watch = (threading.active_count(), descriptors()), time.perf_counter(), Watch()
        PARTS[name](options.bundle, options.part, watch)
        gc.collect()
        row = watch.row() | {
            "seconds": round(time.perf_counter() - started),
            "threads_left": threading.active_count() - before[0],
            "descriptors_left": descriptors() - before[1],
        }
        rows[name] = row
        failed = failed or bool(row["failed"]) or row["threads_left"] > 0 or row["descriptors_left"] > 0
        print(f"{name:9} {row}", flush=True)
    save(options.json, bundle=options.bundle, part=options.part, rows=rows)
    return int(failed)


def _pictures(count: int, size: tuple[int, int] = (240, 320)) -> list[Image]:
    """Smooth noise: every place looks different."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, size[0] // 10, size[1] // 10, 3), np.uint8)
    return list(coarse.repeat(10, axis=1).repeat(10, axis=2))


def _video(count: int) -> Iterator[Image]:
    (scene,) = _pictures(1)
    for i in range(count):
        turn = 2 * np.pi * (i % PERIOD) / PERIOD
        y, x = 60 + int(50 * np.sin(turn)), 80 + int(70 * np.cos(turn))
        yield np.ascontiguousarray(scene[y : y + 120, x : x + 160])


def _digest(found: Correspondences, *more: np.ndarray) -> str:
    arrays: Sequence[np.ndarray] = (found.index_a, found.score_a, found.index_b, found.score_b, *more)
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
