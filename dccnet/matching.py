"""From scores to matches: the best cell of the other image, both ways (spec §1.9)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dccnet.fusion import Scores


class Matches(NamedTuple):
    """Best cell (row-major index into the other grid, int64) and its score (float), per cell."""

    index_a: Tensor  # (B, hA·wA): cell of B matched to each cell of A
    score_a: Tensor  # (B, hA·wA)
    index_b: Tensor  # (B, hB·wB): cell of A matched to each cell of B
    score_b: Tensor  # (B, hB·wB)


def best_matches(scores: Scores) -> Matches:
    score_a, index_a = scores.on_a.max(dim=2)
    score_b, index_b = scores.on_b.max(dim=1)
    return Matches(index_a, score_a, index_b, score_b)
