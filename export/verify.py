"""Does the exported bundle compute what the network computes? Measured on real pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dccnet.inference import TorchMatcher
from dccnet.model import DCCNet
from runtime.bundle import Bundle, Verification
from runtime.images import read_image
from runtime.matcher import Matcher

PICTURES = Path(__file__).parent / "pictures"
"""Three small photographs in the public domain, for exports without ``--verify-data``."""

REQUIRED_IDENTICAL_CELLS = 0.999
ALLOWED_SCORE_DIFFERENCE = 1e-4
MAX_PAIRS = 4


def verify(
    model: DCCNet, bundle: Bundle, pictures: Sequence[Path], on_pair: Callable[[], None] = lambda: None
) -> Verification:
    """Run neighbouring pictures through ONNX Runtime and PyTorch and compare every match.

    At least two pictures; raises :class:`~runtime.errors.ImageError` where one cannot be read.
    """
    pairs = list(zip(pictures, [*pictures[1:], pictures[0]], strict=True))[:MAX_PAIRS]
    exported, reference = Matcher.open(bundle), TorchMatcher(model)
    same, differences, distinct = [], [], 0
    for path_a, path_b in pairs:
        a, b = read_image(path_a), read_image(path_b)
        found, true = exported.match(a, b), reference.match(a, b)
        same += [found.index_a == true.index_a, found.index_b == true.index_b]
        differences += [found.score_a - true.score_a, found.score_b - true.score_b]
        distinct = max(distinct, len(np.unique(true.index_a)), len(np.unique(true.index_b)))
        on_pair()
    identical = float(np.mean([s.mean() for s in same]))
    difference = float(max(np.abs(d).max() for d in differences))
    return Verification(
        passed=identical >= REQUIRED_IDENTICAL_CELLS
        and difference <= ALLOWED_SCORE_DIFFERENCE
        and distinct > 1,
        pairs=len(pairs),
        identical_cells=identical,
        required_identical_cells=REQUIRED_IDENTICAL_CELLS,
        distinct_cells=distinct,
        largest_score_difference=difference,
        allowed_score_difference=ALLOWED_SCORE_DIFFERENCE,
        pictures=tuple(dict.fromkeys(path.name for pair in pairs for path in pair)),
    )
