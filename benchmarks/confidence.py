"""How well a bundle's confidence, and raw scores, tell right matches from wrong ones (docs/confidence.md).

    python benchmarks/confidence.py BUNDLE [LIST.csv...] [--mirrored] [--images images.csv]
        [--pf-willow FOLDER] [-o diagram.png]

Each LIST has PF-PASCAL's columns, 0-based; --mirrored adds every list with its sources mirrored; --images
is that of benchmarks/transfer.py. Keypoints are carried in both directions of each pair by the rule
``subcell``. Prints, for each list: the share that is right, the area under the ROC curve of the score, the
return distance and the confidence, the same for errors up to 0.1 of the longer side of the keypoints' box,
the calibration error, and what ``visible`` keeps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transfer import pairs_within_classes

from dccnet.calibration.confidence.samples import collect_samples
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.confidence import auroc, judge
from dccnet.evaluation.pairs import Pair, facing_opposite, read_pairs
from dccnet.evaluation.reliability import draw_reliability
from dccnet.runtime.confidence import FEATURES, VISIBLE, ConfidenceModel, probability
from dccnet.runtime.matcher import Matcher

ALPHA = 0.1


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--mirrored", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    lists = read_lists(options, options.mirrored)
    found = {}
    with Matcher.open(options.bundle) as matcher:
        model = matcher.require_confidence()
        for name, pairs in lists.items():
            found[name] = measure(matcher, model, name, pairs)
    if options.output is not None:
        draw_reliability(options.output, found)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser of the bundle and of the lists that :func:`read_lists` reads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("lists", nargs="*", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--pf-willow", type=Path)
    return parser


def read_lists(options: argparse.Namespace, mirrored: bool = False) -> dict[str, list[Pair]]:
    """Pairs by the title of their list; ``mirrored`` adds every LIST with its sources mirrored."""
    lists = {f"{path.parent.name}/{path.stem}": read_pairs(path) for path in options.lists}
    if mirrored:
        lists |= {f"{name}, mirrored": [facing_opposite(p) for p in ps] for name, ps in lists.items()}
    if options.images is not None:
        lists[options.images.parent.name] = pairs_within_classes(options.images)
    if options.pf_willow is not None:
        lists["PF-WILLOW"] = [case.pair for case in load_benchmark("pf-willow", options.pf_willow).cases]
    return lists


def measure(matcher: Matcher, model: ConfidenceModel, name: str, pairs: Sequence[Pair]):  # type: ignore[no-untyped-def]
    samples = collect_samples(matcher, [pairs])
    confidence = probability(model.log_odds(samples.evidence))
    scores = judge(confidence, samples.errors, model.within, [])
    right = samples.errors <= model.within
    in_box = samples.errors <= ALPHA * box_shares(pairs)
    raw = {n: samples.evidence[:, FEATURES.index(n)] for n in ("score", "return")} | {
        "confidence": confidence
    }
    kept = confidence >= VISIBLE
    print(f"{name}: {len(pairs)} pairs, {len(right)} transfers, {scores.right:.3f} right", flush=True)
    for title, truth in (("picture", right), ("box", in_box)):
        areas = {n: auroc(values, truth) for n, values in raw.items()}
        print(f"  AUROC, {title}:", ", ".join(f"{n} {a:.3f}" for n, a in areas.items() if a is not None))
    print(
        f"  calibration error {scores.calibration_error:.3f}, mean confidence {scores.confidence:.3f}; "
        f"visible: {kept[right].mean():.3f} of right, {kept[~right].mean():.3f} of wrong",
        flush=True,
    )
    return scores


def box_shares(pairs: Sequence[Pair]) -> np.ndarray:
    """Longer side of the keypoints' box in the picture that each transfer lands in, as a share of the
    picture's longer side."""
    shares = []
    for pair in pairs:
        sizes = [picture.load().shape[:2] for picture in (pair.target, pair.source)]
        for points, size in zip((pair.target_points, pair.source_points), sizes, strict=True):
            assert points is not None
            shares.append(np.full(len(points), np.ptp(points, axis=0).max() / max(size)))
    return np.concatenate(shares)


if __name__ == "__main__":
    main()
