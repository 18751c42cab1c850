"""From scores to matches: the best cell of the other image, both ways (spec §1.9)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dccnet.network.fusion import Scores


class Matches(NamedTuple):
    """Best cell (row-major index into the other grid, int64) and its score (float), per cell."""

    index_a: Tensor  # (B, hA·wA): cell of B matched to each cell of A
    score_a: Tensor  # (B, hA·wA)
    index_b: Tensor  # (B, hB·wB): cell of A matched to each cell of B
    score_b: Tensor  # (B, hB·wB)


def best_matches(scores: Scores) -> Matches:
    return Matches(
        index_a=scores.on_a.argmax(dim=2),
        score_a=scores.on_a.amax(dim=2),
        index_b=scores.on_b.argmax(dim=1),
        score_b=scores.on_b.amax(dim=1),
    )
