"""What ``--help`` lists: imports nothing."""

from __future__ import annotations

PRESETS_OF_ROWS = ("ncnet", "baseline-s", "baseline-sca", "baseline-saa", "baseline-sd", "dccnet")
"""The methods of Table 4 by the presets with their structure, in its order."""

# Context kernels of Table 5 for each base network.
STAND_FOR: dict[str, dict[int, int]] = {
    # base -> {kernel: the paper's kernel that it replaces}: one smaller than the base's own, its own, one
    # larger. On smaller grids the paper's sizes would mostly see padding, so these are the odd numbers
    # nearest to the paper's share of the grid, 11, 25 and 31 of 25 cells.
    "dccnet": {11: 11, 25: 25, 31: 31},
    "tiny": {7: 11, 15: 25, 19: 31},
    "small": {7: 11, 15: 25},  # a plain start with a larger one does not fit into its context channels
}
