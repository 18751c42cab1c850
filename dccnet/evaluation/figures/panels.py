"""What the panels of a figure show, for each style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.scoring import Case
from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.drawing.flow_colours import flow_colours
from dccnet.runtime.errors import UsageError

FigureStyle = Literal["keypoints", "scores", "warp", "flow"]
STYLES: tuple[FigureStyle, ...] = get_args(FigureStyle)
_MOST_OF_FLOW = 99
"""Percentile of the flow's lengths that has the full colour: a few outliers would make all others pale."""

_PALE = 0.45
"""Share of the picture below a map of scores, where these are lowest."""

_NONE = np.zeros((0, 2))


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """A picture with marks; coordinates are its pixels (x, y), 0-based."""

    image: Image
    """uint8 BGR."""
    dots: Points = field(default_factory=lambda: _NONE)
    """``(N, 2)``: given points, or predictions."""
    squares: Points = field(default_factory=lambda: _NONE)
    """``(N, 2)`` or none: where the dots belong; a line joins each with its dot."""
    caption: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Panels side by side, under the figure's headings."""

    panels: list[Panel]
    label: str = ""
    """Written at the left edge, upwards."""


Results = Sequence[tuple[str, Correspondences]]
"""For each model its name, and what it found for a pair."""


def headings(style: FigureStyle, names: Sequence[str], with_truth: bool) -> list[str]:
    """The headings of the columns."""
    if style == "scores":
        return ["given point", "match", "scores"]
    if style == "keypoints":
        return ["given points", *names]
    return ["source", "target", *(["truth"] if style == "flow" and with_truth else []), *names]


def rows(
    style: FigureStyle, benchmark: Benchmark, case: Case, results: Results, alpha: float, point: int
) -> list[Row]:
    """The rows of one pair. ``alpha`` is the threshold of hits, ``point`` the keypoint, from 1, whose
    scores are shown. Raises :class:`UsageError` where the pair or a model lacks what the style shows."""
    if style in ("keypoints", "scores") and case.pair.source_points is None:
        raise UsageError(f"{case.name} has no keypoints: choose --style warp or flow")
    if style == "keypoints":
        return [_keypoints(benchmark, case, results, alpha)]
    if style == "scores":
        return _scores(benchmark, case, results, point)
    source, target = case.pair.source.load(), case.pair.target.load()
    shown = [Panel(source), Panel(target)]
    if style == "warp":
        return [Row([*shown, *(Panel(result.warp(source)) for _, result in results)])]
    return [Row([*shown, *_flows(case, results)])]


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """The picture with the given points, and that with the true places of these."""

    given: Image
    points: Points
    answer: Image
    truth: Points


def _question(benchmark: Benchmark, case: Case) -> _Question:
    source, target = case.pair.source.load(), case.pair.target.load()
    in_source, in_target = case.pair.source_points, case.pair.target_points
    assert in_source is not None and in_target is not None
    if benchmark.carried_to == "source":
        return _Question(target, in_target, source, in_source)
    return _Question(source, in_source, target, in_target)


def _keypoints(benchmark: Benchmark, case: Case, results: Results, alpha: float) -> Row:
    asked = _question(benchmark, case)
    panels = [Panel(asked.given, asked.points)]
    for _, result in results:
        outcome = benchmark.score(case, result, (alpha,))
        caption = f"{outcome.hits[0]} of {outcome.count} right"
        panels.append(Panel(asked.answer, np.array(outcome.carried), asked.truth, caption))
    return Row(panels)


def _scores(benchmark: Benchmark, case: Case, results: Results, point: int) -> list[Row]:
    asked = _question(benchmark, case)
    if point > len(asked.points):
        raise UsageError(f"{case.name} has {len(asked.points)} keypoints: there is no --point {point}")
    given, truth = asked.points[point - 1 : point], asked.truth[point - 1 : point]
    found = []
    for name, result in results:
        from_b = benchmark.carried_to == "source"
        heatmap = result.heatmap_b if from_b else result.heatmap_a
        if heatmap is None:
            raise UsageError(f"{name} returns no score maps: export it with dcc export --heatmaps")
        carried = result.transfer(given, "b" if from_b else "a", "cells", outside=True)
        scores = _around(given[0], asked.given.shape[:2], heatmap)
        shown = _coloured(scores, asked.answer)
        match = Panel(asked.answer, carried, truth)
        found.append(Row([Panel(asked.given, given), match, Panel(shown, squares=truth)], name))
    return found


def _around(point: Floats, size: tuple[int, ...], heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores ``(h', w')`` of the cell nearest to ``point`` (x, y), in a picture of ``size``."""
    height, width = heatmap.shape[:2]
    x, y = point / np.maximum([size[1] - 1, size[0] - 1], 1)
    row, column = np.rint([y * (height - 1), x * (width - 1)]).astype(int)
    scores: NDArray[np.float32] = heatmap[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return scores


def _coloured(scores: NDArray[np.float32], picture: Image) -> Image:
    """Scores ``(h, w)`` over a pale picture, from the lowest, dark purple, to the highest, yellow.

    The highest scores hide the picture, so that nothing in it is brighter.
    """
    spread = scores - scores.min()
    spread = spread / max(float(spread.max()), 1e-12)
    grown = geometry.resize(spread[..., None], picture.shape[:2])[..., 0].clip(0, 1)
    colours = cv2.applyColorMap(np.rint(255 * grown).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    share = (1 - _PALE * (1 - grown))[..., None]
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None]
    mixed: Image = np.rint(share * colours + (1 - share) * grey).astype(np.uint8)
    return mixed


def _flows(case: Case, results: Results) -> list[Panel]:
    """Flow from the target to the source: the true one, if there is one, and every model's."""
    flows = [result.flow("b") for _, result in results]
    if case.truth is not None:
        flows.insert(0, case.truth().flow)
    lengths = [np.linalg.norm(flow[np.isfinite(flow).all(axis=-1)], axis=-1) for flow in flows]
    longest = max(float(np.percentile(found, _MOST_OF_FLOW)) for found in lengths if len(found))
    return [Panel(flow_colours(flow, longest), caption=f"up to {longest:.0f} px") for flow in flows]
