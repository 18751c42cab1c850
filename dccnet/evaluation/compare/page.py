"""The page of a comparison: tables, a scatter of pairs, and the pairs on which one model wins."""

from __future__ import annotations

from html import escape

import numpy as np

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.compare.differences import Comparison
from dccnet.evaluation.compare.tables import Table, remarks, tables
from dccnet.evaluation.pair_drawing import draw_pair
from dccnet.evaluation.report import drawn_alpha, drawn_legend, html_page, table_row, what_is_right

SHOWN = 6
"""Largest number of pairs that are drawn where a model wins, and where it loses."""
_SIDE, _LEFT, _TOP = 320, 46, 16  # of the scatter, in pixels
_LARGEST = 12.0
"""Radius, in pixels, of the largest dot of a scatter."""


def comparison_page(benchmark: Benchmark, comparison: Comparison) -> str:
    """One page that loads nothing. Reads the pictures of the pairs that it shows."""
    title = f"{comparison.first.title}: {', '.join(comparison.names)}"
    parts = [f"<h1>{escape(title)}</h1>"]
    parts += [f'<p class="soft">{escape(line)}</p>' for line in remarks(comparison)]
    parts += map(_table, tables(comparison))
    parts += [_against_first(benchmark, comparison, number) for number in range(1, len(comparison.names))]
    return html_page(title, parts)


def _table(table: Table) -> str:
    rows = [table_row("th", "", table.head), *(table_row("td", "", row) for row in table.rows)]
    return f'<h2>{escape(table.title)}</h2><div class="wide"><table>{"".join(rows)}</table></div>'


def _against_first(benchmark: Benchmark, comparison: Comparison, number: int) -> str:
    first, other = comparison.names[0], comparison.names[number]
    alpha = drawn_alpha(comparison.first)
    gaps = comparison.shares[number] - comparison.shares[0]
    gaps = gaps[:, comparison.first.alphas.index(alpha)]
    order = np.argsort(gaps, kind="stable")
    wins = [int(i) for i in order[::-1] if gaps[i] > 0][:SHOWN]
    losses = [int(i) for i in order if gaps[i] < 0][:SHOWN]
    return "".join(
        [
            f"<h2>{escape(other)} against {escape(first)}, pair by pair</h2>",
            scatter(comparison, number),
            _pairs(f"Where {other} wins, @{alpha:g}", benchmark, comparison, number, wins),
            _pairs(f"Where {other} loses, @{alpha:g}", benchmark, comparison, number, losses),
        ]
    )


def scatter(comparison: Comparison, number: int) -> str:
    """SVG: PCK of every pair with the first model (x) and with model ``number`` (y). The area of a dot is
    the number of pairs in it; pairs above the diagonal are better with the second of both."""
    scores = comparison.shares[[0, number], :, comparison.index].T
    places, counts = np.unique(scores.round(6), axis=0, return_counts=True)
    scale = _LARGEST / np.sqrt(max(counts.max(), 4))
    width, height = _LEFT + _SIDE + 20, _TOP + _SIDE + 44
    parts = [
        f'<svg width="{width}" height="{height}" role="img"><g transform="translate({_LEFT} {_TOP})">',
        f'<path d="M0 {_SIDE}L{_SIDE} 0" stroke="var(--soft)" stroke-dasharray="5 4"/>',
        f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="var(--line)"/>',
    ]
    for percent in range(0, 101, 20):
        at = _SIDE * percent / 100
        parts.append(f'<text class="soft" x="{at}" y="{_SIDE + 16}" text-anchor="middle">{percent}</text>')
        parts.append(f'<text class="soft" x="-8" y="{_SIDE - at + 4}" text-anchor="end">{percent}</text>')
    for (x, y), count in zip(places, counts, strict=True):
        many = f"{count} pair{'s' if count > 1 else ''}: {x:.0f} %, {y:.0f} %"
        parts.append(
            f'<circle class="bar" cx="{_SIDE * x / 100:.1f}" cy="{_SIDE * (1 - y / 100):.1f}" '
            f'r="{scale * np.sqrt(count):.1f}" fill-opacity=".6"><title>{many}</title></circle>'
        )
    alpha = comparison.first.alphas[comparison.index]
    names = [escape(comparison.names[i]) for i in (0, number)]
    parts.append(f'<text x="{_SIDE / 2}" y="{_SIDE + 36}" text-anchor="middle">{names[0]}</text>')
    parts.append(
        f'<text transform="translate(-34 {_SIDE / 2}) rotate(-90)" text-anchor="middle">{names[1]}</text>'
    )
    caption = f"PCK@{alpha:g} of each pair, in %; the area of a dot is the number of pairs"
    return f"<figure>{''.join(parts)}</g></svg><figcaption>{caption}</figcaption></figure>"


def _pairs(title: str, benchmark: Benchmark, comparison: Comparison, number: int, chosen: list[int]) -> str:
    """A row for each pair, with the first model on the left and the other on the right."""
    if not chosen:
        return f"<h3>{escape(title)}</h3><p>On no pair.</p>"
    alpha = drawn_alpha(comparison.first)
    index = comparison.first.alphas.index(alpha)
    figures = [f"<strong>{escape(comparison.names[i])}</strong>" for i in (0, number)]
    for pair in chosen:
        for model in (0, number):
            outcome = comparison.outcomes[model][pair]
            drawing = draw_pair(benchmark, benchmark.cases[pair], outcome, alpha)
            caption = escape(what_is_right(benchmark, outcome, index))
            figures.append(f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>")
    grid = '<div class="grid" style="grid-template-columns: repeat(2, minmax(0, 1fr))">'
    return f"<h3>{escape(title)}</h3>{drawn_legend(benchmark)}{grid}{''.join(figures)}</div>"
