"""Context kernels of Table 5 for each base network; imports nothing, so that ``--help`` can name them."""

from __future__ import annotations

STAND_FOR: dict[str, dict[int, int]] = {
    # base -> {kernel: the kernel of the paper that it stands for}: a smaller one, the base's own, a larger.
    # On smaller grids the paper's sizes would mostly see padding: half of their own, and nearly the grid.
    "dccnet": {11: 11, 25: 25, 31: 31},
    "tiny": {5: 11, 9: 25, 15: 31},
    "small": {7: 11, 15: 25},  # no larger one: a plain start would have no room in its context channels
}
