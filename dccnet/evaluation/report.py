"""The HTML report: a single file without external resources."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from dccnet.evaluation.baseline import SAME_PLACE
from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.pair_drawing import HIT_COLOUR, MISS_COLOUR, draw_pair
from dccnet.evaluation.published import PUBLISHED
from dccnet.evaluation.scoring import Outcome
from dccnet.evaluation.summary import TRANSFER, RowScores, Summary, class_alpha, published_by_class
from dccnet.evaluation.tables import cells, percent
from dccnet.runtime.standard_streams import visible

SHOWN = 6
"""Number of best pairs, and of worst pairs, that are drawn."""

_STYLE = f"""
:root {{ color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --soft: #6a6a6a; --line: #d8d8d8;
  --bar: #0072b2; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #ececec; --paper: #161616; --soft: #a0a0a0;
  --line: #3a3a3a; --bar: #56b4e9; }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
td, th {{ padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }}
td:first-child, th:first-child, td:nth-child(2), th:nth-child(2) {{ text-align: left; }}
tr.ours {{ font-weight: 600; }}
tr.published, .soft, figcaption {{ color: var(--soft); }}
svg text {{ fill: var(--ink); font: 12px system-ui, sans-serif; }}
svg .soft {{ fill: var(--soft); }}
svg .bar {{ fill: var(--bar); }}
svg .mark {{ stroke: var(--ink); stroke-width: 2; fill: none; }}
.wide {{ overflow-x: auto; }}
.pairs {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1rem; }}
.grid {{ display: grid; gap: 1rem; }}
figure {{ margin: 0; display: table; }}
figcaption {{ display: table-caption; caption-side: bottom; }}
figure svg {{ max-width: 100%; height: auto; border: 1px solid var(--line); }}
.hit {{ color: {HIT_COLOUR}; }} .miss {{ color: {MISS_COLOUR}; }}
"""


def html_report(benchmark: Benchmark, outcomes: Sequence[Outcome], summary: Summary) -> str:
    """A page with scores, a chart by class, and the best and worst pairs, whose pictures it reads."""
    alpha = class_alpha(summary)
    order = _by_quality(outcomes, summary.alphas.index(drawn_alpha(summary)))
    best, worst = order[:SHOWN], order[::-1][: min(SHOWN, max(len(order) - SHOWN, 0))]
    parts = [
        f"<h1>{escape(summary.title)}</h1>",
        f"<p>{escape(summary.model)}, run by {escape(summary.backend)}: {summary.overall.pairs} pairs, "
        f"{summary.overall.points} {summary.point_name}.</p>",
        f'<p class="soft">Protocol: {escape(summary.protocol)}.</p>',
        f'<p class="soft">Transfer: {escape(TRANSFER)}.</p>',
        f'<p class="soft">Intervals: {escape(summary.intervals)}.</p>' if summary.intervals else "",
        _score_table(summary),
        f"<h2>By class, PCK@{alpha:g}, mean over pairs</h2>",
        _chart(summary),
        _class_table(summary),
        _drawings("Best pairs", benchmark, outcomes, best, summary),
        _drawings("Worst pairs", benchmark, outcomes, worst, summary),
        f'<p class="soft">Model SHA-256 {summary.model_sha256}<br>List SHA-256 {summary.list_sha256}</p>',
    ]
    return html_page(f"{summary.title}: {summary.model}", parts)


def html_page(title: str, parts: Sequence[str]) -> str:
    """A page that loads nothing, from pieces of HTML."""
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style></head><body>",
    ]
    return visible("\n".join([*head, *parts, "</body></html>"]) + "\n")


def _by_quality(outcomes: Sequence[Outcome], index: int) -> list[int]:
    """Indices of the pairs, best first: by share of hits, then by mean distance, then by index."""

    def quality(number: int) -> tuple[float, float, int]:
        outcome = outcomes[number]
        length = outcome.length or 1.0  # a box around one keypoint has none
        distance = float(np.mean(outcome.distances)) / length if outcome.distances else 0.0
        return -outcome.hits[index] / outcome.count, distance, number

    return sorted(range(len(outcomes)), key=quality)


def drawn_alpha(summary: Summary) -> float:
    """The threshold by which drawings tell hits from misses."""
    # The overlay of dense flow has the hits at the smallest threshold only.
    return class_alpha(summary) if summary.point_name == "keypoints" else min(summary.alphas)


def _score_table(summary: Summary) -> str:
    head = [f"@{alpha:g}, {summary.headline_is}" for alpha in summary.alphas]
    head += [f"@{alpha:g}, per point" for alpha in summary.alphas]
    rows = [table_row("th", "", ["method", "run by", *head])]
    for row in PUBLISHED.get(summary.benchmark, ()):
        scores = [percent(row.scores.get(alpha)) for alpha in summary.alphas]
        rows.append(table_row("td", "published", [row.method, "published", *scores, *[""] * len(scores)]))
    ours = RowScores(
        summary.headline, summary.overall, summary.classes, headline_interval=summary.headline_interval
    )
    shown = [
        *((name, _what_runs(name, summary), found) for name, found in summary.baselines.items()),
        (summary.model, summary.backend, ours),
        ("the same, sub-cell transfer", summary.backend, summary.subcell),
        ("the same, refined transfer", summary.backend, summary.refined),
    ]
    for method, backend, found in shown:
        if found is not None:
            scores = cells(found.headline, found.headline_interval)
            scores += map(percent, found.overall.per_point)
            kind = "baseline" if method in summary.baselines else "ours"
            rows.append(table_row("td", kind, [method, backend, *scores]))
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _what_runs(baseline: str, summary: Summary) -> str:
    return "no network" if baseline == SAME_PLACE else f"features of {summary.model}"


def table_row(tag: str, kind: str, cells: Sequence[str]) -> str:
    """A row of ``td`` or ``th``, of the class ``kind``."""
    inside = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
    return f'<tr class="{kind}">{inside}</tr>'


def _chart(summary: Summary) -> str:
    """One bar per class, with published results at the same threshold as circles and ticks."""
    published = published_by_class(summary)[-2:]
    index = summary.alphas.index(class_alpha(summary))
    left, scale, step = 150, 5.5, 24  # pixels: width of labels, of one percent, height of a row
    height = step * len(summary.classes) + 30
    parts = [f'<svg width="{left + 100 * scale + 60:.0f}" height="{height}" role="img">']
    parts.append(f"<title>PCK by class of {escape(summary.model)}</title>")
    for mark in range(0, 101, 20):
        x = left + scale * mark
        parts.append(f'<line x1="{x}" x2="{x}" y1="0" y2="{height - 24}" stroke="var(--line)"/>')
        parts.append(f'<text class="soft" x="{x}" y="{height - 8}" text-anchor="middle">{mark}</text>')
    for number, (name, scores) in enumerate(summary.classes.items()):
        y, value = number * step + 2, scores.per_pair[index]
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="bar" x="{left}" y="{y + 3}" width="{scale * value:.1f}" height="15"/>')
        end = value
        if scores.per_pair_interval is not None:
            low, end = scores.per_pair_interval[index]
            whisker = f"M{left + scale * low:.1f} {y + 10.5}H{left + scale * end:.1f}"
            parts.append(f'<path class="mark" d="{whisker}"/>')
        parts.append(f'<text x="{left + scale * end + 6:.1f}" y="{y + 15}">{value:.1f}</text>')
        for which, row in enumerate(published):
            x = left + scale * row.classes.get(name, 0)
            shape = f'<path class="mark" d="M{x:.1f} {y + 1}v19"/>'
            if which == 0:
                shape = f'<circle class="mark" cx="{x:.1f}" cy="{y + 10.5}" r="4"/>'
            parts.append(shape)
    parts.append("</svg>")
    if published:
        legend = ", ".join(
            f"{shape} {row.method} as published" for shape, row in zip("○|", published, strict=False)
        )
        parts.append(f'<p class="soft">{escape(legend)}</p>')
    return "".join(parts)


def _class_table(summary: Summary) -> str:
    """The published scores by class, the baselines', and ours."""
    index = summary.alphas.index(class_alpha(summary))
    rows = [table_row("th", "", ["method", "run by", *summary.classes])]
    for row in published_by_class(summary):
        scores = [percent(row.classes.get(name)) for name in summary.classes]
        rows.append(table_row("td", "published", [row.method, "published", *scores]))
    shown = [("baseline", name, row.classes) for name, row in summary.baselines.items()]
    for kind, method, classes in [*shown, ("ours", summary.model, summary.classes)]:
        scores = [cells(found.per_pair, found.per_pair_interval)[index] for found in classes.values()]
        backend = _what_runs(method, summary) if kind == "baseline" else summary.backend
        rows.append(table_row("td", kind, [method, backend, *scores]))
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _drawings(
    title: str, benchmark: Benchmark, outcomes: Sequence[Outcome], numbers: Sequence[int], summary: Summary
) -> str:
    if not numbers:
        return ""
    alpha = drawn_alpha(summary)
    index = summary.alphas.index(alpha)
    figures = []
    for number in numbers:
        outcome = outcomes[number]
        drawing = draw_pair(benchmark, benchmark.cases[number], outcome, alpha)
        caption = what_is_right(benchmark, outcome, index)
        figures.append(f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>")
    head = f"<h2>{title}, @{alpha:g}</h2>{drawn_legend(benchmark)}"
    return f'{head}<div class="pairs">{"".join(figures)}</div>'


def drawn_legend(benchmark: Benchmark) -> str:
    """What the marks in drawings of pairs mean."""
    if benchmark.point_name == "keypoints":
        legend = (
            '<span class="hit">●</span> right, <span class="miss">✕</span> wrong, each with a line to '
            "the true point ○; equal numbers are the same point in both pictures"
        )
    else:
        legend = '<span class="hit">■</span> right, <span class="miss">▨</span> wrong, on the foreground'
    return f'<p class="soft">{legend}</p>'


def what_is_right(benchmark: Benchmark, outcome: Outcome, index: int) -> str:
    """The class and name of a pair, and how many of its points are right at the threshold ``index``."""
    share = f"{outcome.hits[index]} of {outcome.count} {benchmark.point_name} right"
    return f"{outcome.category}, {outcome.name}: {share}"
