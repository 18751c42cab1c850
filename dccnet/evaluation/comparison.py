"""The HTML report of several models on one benchmark, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.pair_drawing import draw_pair
from dccnet.evaluation.report import drawn_alpha, drawn_legend, html_page, table_row, what_is_right
from dccnet.evaluation.scoring import Outcome
from dccnet.evaluation.summary import Summary, class_alpha
from dccnet.evaluation.tables import cells, label, percent

SHOWN = 8
"""Number of worst pairs that are drawn."""


def comparison_page(
    benchmark: Benchmark, summaries: Sequence[Summary], outcomes: Sequence[Sequence[Outcome]]
) -> str:
    """A page with the scores of all models, by class, too, and the pairs that they do worst on, each with
    what every model found. ``outcomes`` has those of each of the ``summaries``. Reads the pictures."""
    first = summaries[0]
    alpha = class_alpha(first)
    parts = [
        f"<h1>{escape(first.title)}: {len(summaries)} models</h1>",
        f"<p>{first.overall.pairs} pairs, {first.overall.points} {first.point_name}.</p>",
        f'<p class="soft">Protocol: {escape(first.protocol)}.</p>',
        _score_table(summaries),
        f"<h2>By class, PCK@{alpha:g}, mean over pairs</h2>",
        _class_table(summaries, first.alphas.index(alpha)),
        _worst_pairs(benchmark, summaries, outcomes),
    ]
    return html_page(f"{first.title}: {len(summaries)} models", parts)


def _score_table(summaries: Sequence[Summary]) -> str:
    first = summaries[0]
    head = ["model", "run by", *(f"@{alpha:g}, {first.headline_is}" for alpha in first.alphas)]
    head += [f"refined, @{alpha:g}" for alpha in first.alphas]
    rows = [table_row("th", "", head)]
    for summary in summaries:
        scores = cells(summary.headline, summary.headline_interval)
        refined = summary.refined or summary.subcell
        better = [""] * len(scores) if refined is None else list(map(percent, refined.headline))
        rows.append(table_row("td", "ours", [label(summary), summary.backend, *scores, *better]))
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _class_table(summaries: Sequence[Summary], index: int) -> str:
    rows = [table_row("th", "", ["class", "pairs", *map(label, summaries)])]
    for name, found in summaries[0].classes.items():
        scores = [
            cells(s.classes[name].per_pair, s.classes[name].per_pair_interval)[index] for s in summaries
        ]
        rows.append(table_row("td", "", [name, str(found.pairs), *scores]))
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _worst_pairs(
    benchmark: Benchmark, summaries: Sequence[Summary], outcomes: Sequence[Sequence[Outcome]]
) -> str:
    """A row for each pair, a column for each model."""
    alpha = drawn_alpha(summaries[0])
    index = summaries[0].alphas.index(alpha)
    shares = np.array([[o.hits[index] / o.count for o in of_model] for of_model in outcomes]).mean(axis=0)
    figures = [f"<strong>{escape(label(summary))}</strong>" for summary in summaries]
    for number in np.argsort(shares, kind="stable")[:SHOWN]:
        for of_model in outcomes:
            outcome = of_model[number]
            drawing = draw_pair(benchmark, benchmark.cases[number], outcome, alpha)
            caption = escape(what_is_right(benchmark, outcome, index))
            figures.append(f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>")
    columns = f"grid-template-columns: repeat({len(summaries)}, minmax(0, 1fr))"
    head = f"<h2>Worst pairs, mean over the models, @{alpha:g}</h2>{drawn_legend(benchmark)}"
    return f'{head}<div class="grid" style="{columns}">{"".join(figures)}</div>'
