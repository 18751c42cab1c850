r"""What confidence says of pictures that show nothing alike (docs/confidence.md).

    python benchmarks/unrelated.py BUNDLE [LIST.csv...] [--images images.csv] [--pf-willow DIR] [--every N]

LISTs and --images are those of benchmarks/confidence.py. Each pair is matched, and its source also with the
target of a pair of another class. Prints, for both: the mean confidence of all cells, the share of cells
with at least 0.7, and how many pairs have a mean confidence below some limits; then the area under the ROC
curve by which a pair's mean confidence tells both apart.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from confidence import arguments, read_lists

from dccnet.evaluation.confidence import auroc
from dccnet.evaluation.pairs import Pair, Picture
from dccnet.runtime.confidence import VISIBLE
from dccnet.runtime.matcher import Matcher

LIMITS = (0.3, 0.4, 0.5, 0.6)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--every", type=int, default=1, help="every Nth pair of each list")
    options = parser.parse_args()
    with Matcher.open(options.bundle) as matcher:
        matcher.require_confidence()
        for name, pairs in read_lists(options).items():
            measure(matcher, name, pairs[:: options.every])


def measure(matcher: Matcher, name: str, pairs: Sequence[Pair]) -> None:
    chooser = random.Random(1)
    others = [[p.target for p in pairs if p.category != pair.category] for pair in pairs]
    if not all(others):
        raise SystemExit(f"{name}: there is only one class, so that no pair is unrelated")
    related = np.array([of_pair(matcher, pair.source, pair.target) for pair in pairs])
    unrelated = np.array(
        [of_pair(matcher, p.source, chooser.choice(o)) for p, o in zip(pairs, others, strict=True)]
    )
    print(f"{name}: {len(pairs)} pairs")
    for title, values in (("of one class", related), ("of two classes", unrelated)):
        mean, visible = values.T
        below = ", ".join(f"{(mean < limit).mean():.3f} below {limit}" for limit in LIMITS)
        print(f"  {title}: confidence {mean.mean():.3f}, visible {visible.mean():.3f}; pairs {below}")
    truth = np.repeat([True, False], len(pairs))
    area = auroc(np.concatenate([related, unrelated])[:, 0], truth)
    print(f"  AUROC of the mean confidence {area:.3f}", flush=True)


def of_pair(matcher: Matcher, a: Picture, b: Picture) -> tuple[float, float]:
    """Mean confidence of all cells of both pictures, and the share that is visible."""
    found = matcher.match(a.load(), b.load())
    values = [found.confidence_a, found.confidence_b]
    assert values[0] is not None and values[1] is not None
    both = np.concatenate([v.ravel() for v in values if v is not None])
    return float(both.mean()), float((both >= VISIBLE).mean())


if __name__ == "__main__":
    main()
