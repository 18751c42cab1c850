"""How closely two implementations of the same network must agree."""

from __future__ import annotations

from typing import NamedTuple


class Criterion(NamedTuple):
    """Required agreement of a network in some precision with the one that it was made from."""

    margin: float
    """Only cells whose best score exceeds the second best by at least this share of it are compared."""
    identical_cells: float
    score_difference: float
    fine_difference: float
    """Of the channels of fine features, which are vectors of unit length, stored as float16."""


CRITERIA = {
    "float32": Criterion(margin=0.0, identical_cells=0.999, score_difference=1e-4, fine_difference=2e-3),
    # Eleven bits of mantissa cannot decide near ties; a score is a softmax of values of up to about 50.
    "float16": Criterion(margin=0.01, identical_cells=0.99, score_difference=0.05, fine_difference=0.05),
}


def criterion_for(precision: str, fusion: object) -> Criterion:
    """The criterion for a network of this precision and fusion (``ModelConfig.fusion``).

    With the fusions ``product`` and ``support``, a score in half precision is a product of two maps, which
    are at most 1: if each may differ by ``score_difference``, their product may differ by twice as much.
    """
    found = CRITERIA[precision]
    if precision == "float16" and fusion in ("product", "support"):
        return found._replace(score_difference=2 * found.score_difference)
    return found
