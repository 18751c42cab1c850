"""Has dcc become slower? Ratios to baselines that do not change, and counts of instructions.

    make bench                                             # or, with other options:
    python benchmarks/regressions.py [--rounds 15] [--json FILE] [--history docs/speed.md]

All ways take turns in one process, so that ratios mean something on a busy machine, too. The baselines are
the slice loop (benchmarks/slice_loop.py), nearest neighbours of the built-in model's features, and the
built-in model as it was before its last change, from the history of the repository. valgrind, where it is
installed, counts the instructions of two small paths, which depend on no other program. ``--history`` adds
a row for this commit to the table of a page, or replaces it.
"""

from __future__ import annotations

import argparse
import datetime
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from conv4d import SLICE_LOOP, way
from results import save, table

from dccnet.evaluation.baseline import nearest_neighbour
from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime import Matcher, read_image
from dccnet.runtime.turns import take_turns

ROOT = Path(__file__).resolve().parents[1]
MODEL = "runtime/models/small-1"
SIDE = 15
"""Cells a side of the volume for the slice loop, whose round takes a tenth of a second."""
NOW, NEIGHBOURS, BEFORE = "built-in model, kept reference", "nearest neighbours", "built-in model before"
RATIOS = {
    "slice loop / `spectral`": (SLICE_LOOP, "ONNX Runtime, spectral"),
    "slice loop / `stack`": (SLICE_LOOP, "ONNX Runtime, stack"),
    "nearest neighbours / built-in model": (NEIGHBOURS, NOW),
    "built-in model before / now": (BEFORE, NOW),
}
"""Columns of the history: the time of the first way divided by that of the second; larger is faster."""
_PREPARE = """
import sys
import numpy as np
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import resize_uint8
image = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8)
cells = np.arange(484).reshape(22, 22)
scores = np.ones((22, 22), np.float32)
matches = Correspondences((1200, 1600), (1200, 1600), cells, scores, cells, scores)
points = np.random.default_rng(1).uniform(0, 1199, (100, 2))
for _ in range(int(sys.argv[1])):
    """
PATHS = {
    "resize 1600x1200": "resize_uint8(image, (352, 352))",
    "move 100 points": 'matches.transfer(points, "a", "cells")',
}
"""What instructions are counted of, by the name of its column."""
_COLUMNS = ["commit", "date", *RATIOS, *(f"{name}, 10⁶ instructions" for name in PATHS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    parser.add_argument("--history", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = take_turns(ways(Path(folder)), options.rounds)
    print(table(seconds, {"slice loop": SLICE_LOOP, "built-in": NOW}))
    ratios = {
        name: float(np.median(seconds[base]) / np.median(seconds[timed]))
        for name, (base, timed) in RATIOS.items()
        if base in seconds
    }
    counts = {name: instructions(statement) for name, statement in PATHS.items()} if valgrind() else {}
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f}")
    for name, count in counts.items():
        print(f"{name}: {count / 1e6:.2f} million instructions")
    commit = git("rev-parse", "--short=7", "HEAD").decode().strip()
    save(options.json, commit=commit, seconds=seconds, ratios=ratios, instructions=counts)
    if options.history is not None:
        page = options.history.read_text(encoding="utf-8")
        row = [commit, datetime.date.today().isoformat()]
        row += [f"{ratios[name]:.2f}" if name in ratios else "" for name in RATIOS]
        row += [f"{counts[name] / 1e6:.2f}" if name in counts else "" for name in PATHS]
        options.history.write_text(with_row(page, row), encoding="utf-8")


def ways(folder: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by name; ``folder`` is for the model of before."""
    found: dict[str, Callable[[], object]] = {
        name: way(name, SIDE) for name in (SLICE_LOOP, "ONNX Runtime, stack", "ONNX Runtime, spectral")
    }
    a, b = map(read_image, sorted(PICTURES.glob("*.jpg"))[:2])
    now = Matcher.open(ROOT / MODEL)
    kept = now.encode(a)
    found[NOW] = partial(now.match, kept, b)

    def neighbours() -> object:
        za, zb = (np.asarray(x.tensors["local"]) for x in (kept, now.encode(b)))
        return nearest_neighbour(za, zb, kept.size, b.shape[:2])

    found[NEIGHBOURS] = neighbours
    before = model_before(folder)
    if before is None:
        print("no model of before: this is no checkout with its history", file=sys.stderr)
    else:
        matcher = Matcher.open(before)
        found[BEFORE] = partial(matcher.match, matcher.encode(a), b)
    return found


def model_before(folder: Path) -> Path | None:
    """The built-in model before its last change, unpacked into ``folder``; None without a history."""
    try:
        commits = git("log", "--format=%H", "-n", "2", "--", MODEL).decode().split()
        archive = git("archive", commits[1], MODEL)
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder / MODEL


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def valgrind() -> bool:
    found = shutil.which("valgrind") is not None
    if not found:
        print("valgrind is not installed: instructions are not counted", file=sys.stderr)
    return found


def instructions(statement: str) -> float:
    """Instructions of one execution of a Python statement: of three, less those of one, by two."""
    few, many = (_counted(statement, times) for times in (1, 3))
    return (many - few) / 2


def _counted(statement: str, times: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c"]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [*command, _PREPARE + statement, str(times)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])


def with_row(page: str, row: list[str]) -> str:
    """A page with the row at the end of its table of the history, in place of the commit's own, if any.

    Raises ``ValueError`` for a page without that table.
    """
    lines = page.splitlines()
    header = f"| {' | '.join(_COLUMNS)} |"
    if header not in lines:
        raise ValueError(f"the page has no table with the header {header}")
    start = end = lines.index(header) + 2
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    others = [line for line in lines[start:end] if not line.startswith(f"| {row[0]} |")]
    return "\n".join([*lines[:start], *others, f"| {' | '.join(row)} |", *lines[end:]]) + "\n"


if __name__ == "__main__":
    main()
