"""A benchmark of your own: pairs with keypoints, scored as PF-PASCAL is, with intervals.

python custom_benchmark.py LIST.json

LIST.json: [{"a": "cat1.jpg", "b": "cat2.jpg", "class": "cat", "points_a": [[x, y], ...], "points_b": ...}];
points_b[i] is the place in b of points_a[i], both in pixels. The command `dcc eval --benchmark pairs`
reads lists as CSV; this is for everything else.
"""

import json
import sys
from pathlib import Path

import numpy as np

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.intervals import Bootstrap
from dccnet.evaluation.models import open_model
from dccnet.evaluation.pairs import Pair, file_picture
from dccnet.evaluation.pck import DESCRIPTIONS
from dccnet.evaluation.runner import EvaluationOptions, evaluate
from dccnet.evaluation.scoring import Case, target_to_source
from dccnet.evaluation.summary import summarise
from dccnet.runtime.files import sha256
from dccnet.runtime.selection import BackendChoice


def read_benchmark(path: Path) -> Benchmark:
    cases = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        a, b = (file_picture(path.parent / row[side]) for side in ("a", "b"))
        points = (np.array(row[f"points_{side}"], np.float64) for side in ("a", "b"))
        cases.append(Case(f"pair {len(cases) + 1}", Pair(a, b, row["class"], *points)))
    return Benchmark(
        name="mine",
        title="My pairs",
        protocol=DESCRIPTIONS["bbox"],
        cases=cases,
        score=target_to_source("bbox"),
        alphas=(0.05, 0.1),
        digest=sha256(path),
    )


def main(path: str) -> None:
    benchmark = read_benchmark(Path(path))
    model = open_model(Path("small-1"), BackendChoice())
    run = evaluate(model, benchmark, benchmark.alphas, EvaluationOptions(baselines=True))
    bootstrap = Bootstrap([case.pair for case in benchmark.cases])
    summary = summarise(
        benchmark, run.outcomes, benchmark.alphas, model="small-1", model_sha256=model.digest,
        backend=model.backend, bootstrap=bootstrap,
    )  # fmt: skip
    print(f"PCK at {summary.alphas}: {summary.headline}, 95 % within {summary.headline_interval}")


if __name__ == "__main__":
    main(*sys.argv[1:])
