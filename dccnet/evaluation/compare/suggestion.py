"""The command that draws compared models, to be copied from the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dccnet.evaluation.compare.differences import Comparison


def figure_of(folders: Sequence[Path], comparison: Comparison, names: str | None) -> str:
    """``dcc figure`` for the pairs on which the second model wins most, is in the middle and loses most.

    ``folders`` and ``names`` are those of ``dcc compare``.
    """
    gaps = comparison.shares[1, :, comparison.index] - comparison.shares[0, :, comparison.index]
    order = np.argsort(gaps, kind="stable")
    chosen = dict.fromkeys(int(order[place]) + 1 for place in (-1, len(order) // 2, 0))
    words = ["dcc", "figure", *map(str, folders), *(() if names is None else ("--names", names))]
    return shlex.join([*words, "--pairs", ",".join(map(str, chosen)), "-o", "figure.pdf"])
