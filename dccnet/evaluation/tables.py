"""Tables of results for the terminal: published rows, then ours, then the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dccnet.evaluation.published import PUBLISHED
from dccnet.evaluation.summary import TRANSFER, Summary, class_alpha, published_by_class

MOST_CLASSES = 40
WIDTH = 120
"""Width in characters if there is no terminal."""


def tables(summaries: Sequence[Summary]) -> Group:
    """Tables with one row per model; all summaries must be of the same benchmark and protocol."""
    first = summaries[0]
    parts: list[Table | Text] = [_overall(summaries)]
    if 1 < len(first.classes) <= MOST_CLASSES:
        parts.append(_by_class(summaries))
    parts.append(Text(f"protocol: {first.protocol}", style="italic"))
    parts.append(Text(f"transfer: {TRANSFER}", style="italic"))
    return Group(*parts)


def _overall(summaries: Sequence[Summary]) -> Table:
    first = summaries[0]
    counts = f"{first.overall.pairs} pairs, {first.overall.points} {first.point_name}"
    table = Table(title=f"{first.title}: {counts}, PCK in %, {first.headline_is}", title_justify="left")
    table.add_column("method")
    table.add_column("run by")
    for alpha in first.alphas:
        table.add_column(f"@{alpha:g}", justify="right")
    for row in PUBLISHED.get(first.benchmark, ()):
        scores = [_percent(row.scores.get(alpha)) for alpha in first.alphas]
        table.add_row(row.method, "published", *scores, style="dim")
    table.add_section()
    for summary in summaries:
        table.add_row(label(summary), summary.backend, *map(_percent, summary.headline), style="bold")
        table.add_row("  per point", "", *map(_percent, summary.overall.per_point))
        if summary.subcell is not None:
            table.add_row("  sub-cell transfer", "", *map(_percent, summary.subcell.headline))
    return table


def _by_class(summaries: Sequence[Summary]) -> Table:
    first = summaries[0]
    published = published_by_class(first)[-2:]
    alpha = class_alpha(first)
    table = Table(title=f"by class, @{alpha:g}, mean over pairs", title_justify="left")
    table.add_column("class")
    table.add_column("pairs", justify="right")
    for summary in summaries:
        table.add_column(label(summary), justify="right", style="bold")
    for row in published:
        table.add_column(f"{row.method}\npublished", justify="right", style="dim")
    index = first.alphas.index(alpha)
    for name, scores in first.classes.items():
        ours = [_percent(summary.classes[name].per_pair[index]) for summary in summaries]
        theirs = [_percent(row.classes.get(name)) for row in published]
        table.add_row(name, str(scores.pairs), *ours, *theirs)
    return table


def label(summary: Summary) -> str:
    """The end of the model's path, which tells models apart."""
    return "/".join(Path(summary.model).parts[-2:])


def _percent(score: float | None) -> str:
    return "" if score is None else f"{score:.1f}"
