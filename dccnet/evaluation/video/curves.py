"""Scores over time as a picture: an SVG that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from dccnet.evaluation.video.scores import FrameScore, Value, at_time, overlap, pck

_STEP_S, _HALF_WINDOW_S = 0.125, 0.25
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 400, 260, 46, 34, 70  # of a panel, in pixels
# Okabe and Ito's colours, which colour-blind people can tell apart; dashes differ, too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#999999")
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "", "7 3", "2 3")


def curves(scores: Sequence[FrameScore], title_pck: str) -> str:
    """Two panels, PCK and J in percent over seconds after the reference, with a line for each method.

    A point of a line is the mean of the frames within a quarter of a second, of each sequence and then of
    the sequences. A panel without any score is left out.
    """
    methods = list(dict.fromkeys(s.method for s in scores))
    last = max((s.time_s for s in scores), default=0.0)
    panels = [(title_pck, pck), ("J: intersection over union of masks, %", overlap)]
    panels = [(title, value) for title, value in panels if any(value(s) is not None for s in scores)]
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    height = _TOP + _HEIGHT + 44 + 20 * len(methods)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, (title, value) in enumerate(panels):
        x = _LEFT + number * (_WIDTH + _GAP)
        parts.append(f'<g transform="translate({x} {_TOP})">')
        parts += _axes(title, last)
        for index, method in enumerate(methods):
            line = _line([s for s in scores if s.method == method], value, last)
            parts.append(f'<path d="{line}" fill="none" {_style(index)}/>')
        parts.append("</g>")
    for index, method in enumerate(methods):
        y = _TOP + _HEIGHT + 56 + 20 * index
        parts.append(f'<path d="M{_LEFT} {y - 4}h40" {_style(index)}/>')
        parts.append(f'<text x="{_LEFT + 50}" y="{y}">{escape(method)}</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)


def _axes(title: str, last: float) -> list[str]:
    parts = [f'<text y="-12" font-weight="600">{escape(title)}</text>']
    for percent in range(0, 101, 20):
        y = _HEIGHT * (1 - percent / 100)
        parts.append(f'<path d="M0 {y:.1f}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{percent}</text>')
    for second in range(int(last) + 1):
        x = _WIDTH * second / max(last, 1e-9)
        parts.append(f'<path d="M{x:.1f} {_HEIGHT}v4" stroke="#000"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT + 18}" text-anchor="middle">{second}</text>')
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 34}" text-anchor="middle">seconds after the reference</text>'
    )
    return parts


def _line(scores: Sequence[FrameScore], value: Value, last: float) -> str:
    """The path of a curve, interrupted where no frame has a value."""
    parts, pen = [], "M"
    for time_s in np.arange(0, last + 1e-9, _STEP_S):
        found = at_time(scores, value, float(time_s), _HALF_WINDOW_S)
        if found is None:
            pen = "M"
            continue
        parts.append(f"{pen}{_WIDTH * time_s / last:.1f} {_HEIGHT * (1 - found / 100):.1f}")
        pen = "L"
    return "".join(parts)


def _style(index: int) -> str:
    colour, dash = _COLOURS[index % len(_COLOURS)], _DASHES[index % len(_DASHES)]
    return f'stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")
