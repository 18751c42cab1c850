"""PCK where one view of both pictures is matched, or several (docs/views.md).

    python benchmarks/views.py MODEL [LIST.csv...] [--mirrored] [--images images.csv] [--pf-willow FOLDER]
        [--views 1 3 8] [--mirror] [--every N] [--json FILE]

MODEL is a bundle or the name of a model, lists are those of benchmarks/confidence.py. PCK@0.05 / 0.1 / 0.15
(keypoints' box) for the benchmarks' transfer, sub-cell and, if the bundle refines, refined transfer; the
pairs that --mirror lets the matcher mirror where that is clearly more confident; the calibration error and
the AUROC of confidence, whose truth is a share of the picture; how many matches are mutual; and
milliseconds for both pictures, encoding included.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from confidence import arguments, read_lists
from results import save
from transfer import ALPHAS

from dccnet.evaluation.confidence import judge
from dccnet.evaluation.pairs import Pair
from dccnet.evaluation.pck import pair_pck
from dccnet.runtime.checks import Rule
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.views.choices import VIEWS


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--mirrored", action="store_true")
    parser.add_argument("--views", nargs="+", type=int, default=VIEWS)
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="every Nth pair of each list")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = {}
    with Matcher.open(
        options.bundle, threads=options.threads, mirror="auto" if options.mirror else False
    ) as matcher:
        for name, pairs in read_lists(options, options.mirrored).items():
            for views in options.views:
                rows[f"{name}: {views}"] = found = measure(matcher, pairs[:: options.every], views)
                told = ", ".join(f"{title} {value}" for title, value in found.items())
                print(f"{name}, views {views}: {told}", flush=True)
    if options.json is not None:
        save(options.json, views=rows)


def measure(matcher: Matcher, pairs: list[Pair], views: int) -> dict[str, Any]:
    rules: list[Rule] = ["cells", "subcell", *(["refined"] if matcher.refines else [])]  # type: ignore[list-item]
    scores: dict[Rule, list[list[float]]] = {rule: [] for rule in rules}
    confidence, errors, mutual, mirrored, seconds = [], [], [], 0, 0.0
    for pair in pairs:
        a, b = pair.source.load(), pair.target.load()
        started = time.perf_counter()
        result = matcher.match(a, b, views=views)
        seconds += time.perf_counter() - started
        mirrored += result.mirrored
        mutual.append(len(result.mutual("cells").scores))
        true_a, true_b = pair.source_points, pair.target_points
        assert true_a is not None and true_b is not None
        for rule in rules:
            moved = result.transfer(true_b, "b", rule, outside=True)
            scores[rule].append([pair_pck(moved, true_a, result.size_a, x, "bbox") for x in ALPHAS])
        sides = (("a", true_a, true_b, result.size_b), ("b", true_b, true_a, result.size_a))
        for from_, points, truth, size in sides:
            certain = result.transfer_confidence(points, from_, outside=True)  # type: ignore[arg-type]
            if certain is not None:
                moved = result.transfer(points, from_, "subcell", outside=True)  # type: ignore[arg-type]
                confidence.append(certain)
                errors.append(np.linalg.norm(moved - truth, axis=1) / max(size))
    found: dict[str, Any] = {
        rule: np.round(100 * np.mean(values, axis=0), 1).tolist() for rule, values in scores.items()
    }
    model = matcher.manifest.confidence
    if model is not None:
        judged = judge(np.concatenate(confidence), np.concatenate(errors), model.within, [])
        found |= {
            "auroc": None if judged.auroc is None else round(judged.auroc, 3),
            "calibration error": round(judged.calibration_error, 3),
        }
    found |= {"mutual": round(float(np.mean(mutual)), 1), "mirrored": mirrored, "pairs": len(pairs)}
    return found | {"ms": round(1000 * seconds / len(pairs), 1)}


if __name__ == "__main__":
    main()
