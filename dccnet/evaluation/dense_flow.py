"""Scores dense flow on the target's foreground, by the rules of TSS's evaluation kit."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.scoring import HIT, MISS, Case, Flow, Outcome, Score, count_hits, count_hits_by
from dccnet.runtime.arrays import Floats
from dccnet.runtime.checks import Rule
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DataError
from dccnet.runtime.writers import UNKNOWN_FLOW


def kit_flow(
    case: Case, result: Correspondences, rule: Rule = "cells", *, keep_border: bool = False
) -> NDArray[np.float32]:
    """``(H, W, 2)``: flow (u, v) in pixels from the target, B, to the source as it is in its file.

    Where ``case`` matches the mirror image of the source, the matches are mirrored back, because the true
    flows of the kit point into the picture as it is. Where a match lies on the border of the source or
    outside, both values are :data:`UNKNOWN_FLOW`, as in the released evaluation code of NC-Net and DCCNet
    (spec §4), unless ``keep_border``.
    """
    flow = result.flow(from_="b", rule=rule)
    columns, rows = (np.arange(side, dtype=np.float32) for side in result.size_b[::-1])
    x, y = flow[..., 0] + columns, flow[..., 1] + rows[:, None]
    last_x, last_y = result.size_a[1] - 1, result.size_a[0] - 1
    if case.pair.source.mirror_of is not None:
        flow[..., 0] = last_x - x - columns
    if not keep_border:
        # Adding and subtracting the pixel's own place may have moved a match by a rounding error.
        rounding = 1e-3
        within = (x > rounding) & (x < last_x - rounding) & (y > rounding) & (y < last_y - rounding)
        flow[~within] = UNKNOWN_FLOW
    return flow


def dense_flow(flow: Flow) -> Score:
    """Scores endpoint errors of ``flow`` on the target's foreground.

    The threshold is α × longer side of the source, into which the flow points, as in the kit. The score
    raises :class:`DataError` if flow, mask and picture differ in size or no pixel can be scored.
    """
    return partial(_score, flow)


def _score(flow: Flow, case: Case, result: Correspondences, alphas: Sequence[float]) -> Outcome:
    assert case.truth is not None
    truth = case.truth()
    sizes = {truth.flow.shape[:2], truth.foreground.shape, result.size_b}
    if len(sizes) > 1:
        raise DataError(
            f"{case.name}: flow, mask and target picture differ in size (height, width): "
            f"{', '.join(map(str, sorted(sizes)))}"
        )
    counted = truth.foreground & np.isfinite(truth.flow).all(axis=2)
    count = int(counted.sum())
    if count == 0:
        raise DataError(f"{case.name}: no pixel of the foreground has a true flow")
    length = float(max(result.size_a))

    def errors_by(rule: Rule) -> Floats:
        moved = flow(case, result, rule)[counted].astype(np.float64)
        distances: Floats = np.linalg.norm(moved - truth.flow[counted], axis=1)
        return distances

    errors = errors_by("cells")
    overlay = np.zeros(result.size_b, np.uint8)
    overlay[counted] = np.where(errors <= min(alphas) * length, HIT, MISS)
    return Outcome(
        case.name,
        case.pair.category,
        count=count,
        hits=count_hits(errors, length, alphas),
        length=length,
        overlay=base64.b64encode(cv2.imencode(".png", overlay)[1].tobytes()).decode(),
        subcell_hits=count_hits_by("subcell", result, errors_by, length, alphas),
        refined_hits=count_hits_by("refined", result, errors_by, length, alphas),
    )
