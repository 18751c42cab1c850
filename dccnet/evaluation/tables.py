"""Tables of results for the terminal: published rows, then ours, then the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dccnet.evaluation.baseline import NEAREST_NEIGHBOUR, SAME_PLACE
from dccnet.evaluation.intervals import Interval
from dccnet.evaluation.published import PUBLISHED
from dccnet.evaluation.summary import (
    TRANSFER,
    Scores,
    Summary,
    class_alpha,
    published_by_class,
)

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
    parts += [Text(line) for summary in summaries for line in _confidence(summary)]
    if first.intervals is not None:
        parts.append(Text(f"intervals: {first.intervals}", style="italic"))
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
        scores = [percent(row.scores.get(alpha)) for alpha in first.alphas]
        table.add_row(row.method, "published", *scores, style="dim")
    table.add_section()
    same_place = first.baselines.get(SAME_PLACE)
    if same_place is not None:
        scores = cells(same_place.headline, same_place.headline_interval)
        table.add_row(SAME_PLACE, "no network", *scores)
    for summary in summaries:
        ours = cells(summary.headline, summary.headline_interval)
        table.add_row(label(summary), summary.backend, *ours, style="bold")
        table.add_row("  per point", "", *map(percent, summary.overall.per_point))
        for name, moved in (("sub-cell", summary.subcell), ("refined", summary.refined)):
            if moved is not None:
                scores = cells(moved.headline, moved.headline_interval)
                table.add_row(f"  {name} transfer", "", *scores)
        nearest = summary.baselines.get(NEAREST_NEIGHBOUR)
        if nearest is not None:
            scores = cells(nearest.headline, nearest.headline_interval)
            table.add_row(f"  {NEAREST_NEIGHBOUR}", "on its features", *scores)
    return table


def _by_class(summaries: Sequence[Summary]) -> Table:
    first = summaries[0]
    published = published_by_class(first)[-2:]
    alpha = class_alpha(first)
    table = Table(title=f"by class, @{alpha:g}, mean over pairs", title_justify="left")
    table.add_column("class")
    table.add_column("pairs", justify="right")
    columns: list[dict[str, Scores]] = []

    def add_baseline(summary: Summary, name: str) -> None:
        if name in summary.baselines:
            table.add_column(name.replace(" ", "\n"), justify="right")
            columns.append(summary.baselines[name].classes)

    add_baseline(first, SAME_PLACE)
    for summary in summaries:
        add_baseline(summary, NEAREST_NEIGHBOUR)
        table.add_column(label(summary), justify="right", style="bold")
        columns.append(summary.classes)
    for row in published:
        table.add_column(f"{row.method}\npublished", justify="right", style="dim")
    index = first.alphas.index(alpha)
    for name, scores in first.classes.items():
        found = [column[name] for column in columns]
        ours = [cells(s.per_pair, s.per_pair_interval)[index] for s in found]
        theirs = [percent(row.classes.get(name)) for row in published]
        table.add_row(name, str(scores.pairs), *ours, *theirs)
    return table


def _confidence(summary: Summary) -> list[str]:
    """A line about the model's confidence; none without confidence."""
    found = summary.confidence
    if found is None:
        return []
    areas = zip(summary.alphas, found.auroc_of_hits, strict=True)
    hits = ", ".join(f"{_area(area)} @{alpha:g}" for alpha, area in areas)
    return [
        f"{label(summary)}: confidence tells right from wrong, within {100 * found.within:g} % of the "
        f"picture's longer side, with AUROC {_area(found.auroc)} (hits of the protocol: {hits}), "
        f"calibration error {found.calibration_error:.3f} in {len(found.bins)} bins of equally many "
        f"matches; mean {found.confidence:.3f}, and {found.right:.3f} are right"
    ]


def _area(area: float | None) -> str:
    return "undefined" if area is None else f"{area:.3f}"


def label(summary: Summary) -> str:
    """The end of the model's path, which tells models apart."""
    return "/".join(Path(summary.model).parts[-2:])


def percent(score: float | None, interval: Interval | None = None) -> str:
    """``67.6``, or ``67.6 [63.1, 71.9]``; empty for None."""
    if score is None:
        return ""
    return f"{score:.1f}" if interval is None else f"{score:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"


def cells(scores: Sequence[float], intervals: Sequence[Interval] | None) -> list[str]:
    """:func:`percent` of each."""
    if intervals is None:
        return [percent(score) for score in scores]
    return [percent(score, interval) for score, interval in zip(scores, intervals, strict=True)]
