"""The learning rate of a run, as a share of the one that was asked for."""

from __future__ import annotations

import math


def warm_cosine(step: int, steps: int, warm_up: int) -> float:
    """Rises in the first ``warm_up`` steps, because Adam's first moment estimates are poor, and falls to
    zero along a cosine; ``step`` counts from 0 to ``steps``."""
    warm = min(1.0, (step + 1) / warm_up)
    return warm * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2
