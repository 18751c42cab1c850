"""The tables of a comparison: for the terminal, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from dccnet.evaluation.compare.differences import Comparison, Gap
from dccnet.evaluation.intervals import Interval
from dccnet.evaluation.summary import class_alpha
from dccnet.evaluation.tables import cells

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_NUMERIC = re.compile(r"[+-]?\d+(\.\d+)?( \[[^\]]+\])?")


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a head and rows of texts; the first column is of words, the others of numbers."""

    title: str
    head: list[str]
    rows: list[list[str]]


def tables(comparison: Comparison) -> list[Table]:
    """The scores, and those by class where there are several classes."""
    found = [_overall(comparison)]
    return [*found, _by_class(comparison)] if len(comparison.first.classes) > 1 else found


def gap_text(gap: Gap, index: int) -> str:
    """``+1.3 [-0.2, +2.9]``."""
    text = f"{gap.mean[index]:+.1f}"
    if gap.interval is None:
        return text
    low, high = gap.interval[index]
    return f"{text} [{low:+.1f}, {high:+.1f}]"


def terminal(comparison: Comparison) -> Group:
    parts: list[RichTable | Text] = []
    for table in tables(comparison):
        shown = RichTable(title=table.title, title_justify="left")
        for number, name in enumerate(table.head):
            shown.add_column(name, justify="right" if number else "left")
        for row in table.rows:
            shown.add_row(*map(Text, row))
        parts.append(shown)
    return Group(*parts, *(Text(line, style="italic") for line in remarks(comparison)))


def markdown(comparison: Comparison) -> str:
    parts = []
    for table in tables(comparison):
        rule = ["---", *["---:"] * (len(table.head) - 1)]
        lines = [
            f"| {' | '.join(c.replace('|', '/') for c in row)} |" for row in (table.head, rule, *table.rows)
        ]
        parts.append("\n".join([f"**{table.title}**", "", *lines]))
    return "\n\n".join([*parts, *remarks(comparison)]) + "\n"


def latex(comparison: Comparison) -> str:
    """Tables for the package booktabs."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables(comparison):
        body = [[_latex(cell) for cell in row] for row in table.rows]
        parts += [
            f"% {table.title}",
            f"\\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
            "\\toprule",
            " & ".join(map(_latex, table.head)) + " \\\\",
            "\\midrule",
            *(" & ".join(row) + " \\\\" for row in body),
            "\\bottomrule",
            "\\end{tabular}",
        ]
    return "\n".join([*parts, *(f"% {line}" for line in remarks(comparison))]) + "\n"


def csv_text(comparison: Comparison) -> str:
    """A row for each model, class (or ``all``) and threshold."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    gap = ["difference", "difference_low", "difference_high"]
    table.writerow(["name", "model", "backend", "class", "pairs", "alpha", "pck", "low", "high", *gap])
    for number, (name, summary) in enumerate(zip(comparison.names, comparison.summaries, strict=True)):
        rows = [("all", summary.overall.pairs, summary.headline, summary.headline_interval)]
        rows += [(n, s.pairs, s.per_pair, s.per_pair_interval) for n, s in summary.classes.items()]
        for category, pairs, scores, interval in rows:
            for index, alpha in enumerate(summary.alphas):
                values = [f"{scores[index]:.4f}", *_ends(interval, index), *[""] * 3]
                if number:
                    found = comparison.differences[number - 1]
                    of_class = found.overall if category == "all" else found.classes[category]
                    values[3:] = [f"{of_class.mean[index]:.4f}", *_ends(of_class.interval, index)]
                table.writerow(
                    [name, summary.model, summary.backend, category, pairs, f"{alpha:g}", *values]
                )
    return text.getvalue()


def pairs_text(comparison: Comparison) -> str:
    """A row for each pair: its PCK with every model, for each threshold."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    alphas = comparison.first.alphas
    columns = [f"{name}@{alpha:g}" for name in comparison.names for alpha in alphas]
    table.writerow(["pair", "class", "points", *columns])
    for number, outcome in enumerate(comparison.outcomes[0]):
        scores = [f"{score:.4f}" for of_model in comparison.shares[:, number] for score in of_model]
        table.writerow([outcome.name, outcome.category, outcome.count, *scores])
    return text.getvalue()


def remarks(comparison: Comparison) -> list[str]:
    """What the numbers mean."""
    first = comparison.first
    return [
        f"Protocol: {first.protocol}. Points are carried by the benchmarks' rule (cells).",
        f"Differences are from {comparison.names[0]}, on the same pairs, in percentage points. "
        f"Intervals: {comparison.intervals}.",
    ]


def _overall(comparison: Comparison) -> Table:
    first, index = comparison.first, comparison.index
    counts = f"{first.overall.pairs} pairs, {first.overall.points} {first.point_name}"
    head = ["model", *(f"@{alpha:g}" for alpha in first.alphas)]
    head += [f"difference @{alpha:g}" for alpha in first.alphas]
    head += [f"pairs better / equal / worse @{first.alphas[index]:g}"]
    rows = []
    for number, (name, summary) in enumerate(zip(comparison.names, comparison.summaries, strict=True)):
        row = [name, *cells(summary.headline, summary.headline_interval)]
        if number:
            found = comparison.differences[number - 1]
            row += [gap_text(found.overall, i) for i in range(len(first.alphas))]
            row.append(f"{found.better[index]} / {found.equal[index]} / {found.worse[index]}")
        else:
            row += [""] * (len(first.alphas) + 1)
        rows.append(row)
    return Table(f"{first.title}: {counts}, PCK in %, {first.headline_is}", head, rows)


def _by_class(comparison: Comparison) -> Table:
    first, index = comparison.first, comparison.index
    head = ["class", "pairs", *comparison.names, *(f"{name}, difference" for name in comparison.names[1:])]
    rows = []
    for name, found in first.classes.items():
        scores = [f"{summary.classes[name].per_pair[index]:.1f}" for summary in comparison.summaries]
        gaps = [gap_text(other.classes[name], index) for other in comparison.differences]
        rows.append([name, str(found.pairs), *scores, *gaps])
    return Table(f"by class, @{class_alpha(first):g}, mean over pairs", head, rows)


def _ends(interval: Sequence[Interval] | None, index: int) -> list[str]:
    return ["", ""] if interval is None else [f"{end:.4f}" for end in interval[index]]


def _latex(cell: str) -> str:
    if _NUMERIC.fullmatch(cell):
        return f"${cell}$"
    return "".join(_LATEX.get(character, character) for character in cell)
