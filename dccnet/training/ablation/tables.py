"""Tables 4 and 5 in the paper's format, for the terminal and as Markdown."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dccnet.training.ablation.results import Results
from dccnet.training.ablation.rows import Row, in_table

TITLES = {4: "Table 4: individual modules", 5: "Table 5: kernel size of the spatial context"}
RIGHT = ("Kernel size", "PCK", "PF-PASCAL, published")


def terminal(results: Results) -> Group:
    parts: list[Table | Text] = []
    for number in results.plan.tables:
        table = Table(title=TITLES[number], title_justify="left")
        for name in columns(number):
            table.add_column(name, justify="right" if name in RIGHT else "left")
        for line in lines(results, number):
            table.add_row(*map(Text, line))
        parts.append(table)
    if gaps := gap_lines(results):
        table = Table(title=gap_title(results), title_justify="left")
        for name in GAP_COLUMNS:
            table.add_column(name, justify="left" if name == "Models" else "right")
        for line in gaps:
            table.add_row(*map(Text, line))
        parts.append(table)
    parts += [Text(note, style="italic") for note in (*results.notes, *results.remarks)]
    return Group(*parts)


def markdown(results: Results) -> str:
    parts = []
    for number in results.plan.tables:
        names = columns(number)
        rule = ["---:" if name in RIGHT else "---" for name in names]
        body = [names, rule, *lines(results, number)]
        parts.append("\n".join([f"**{TITLES[number]}**", "", *map(_pipes, body)]))
    if gaps := gap_lines(results):
        body = [list(GAP_COLUMNS), ["---", "---:", "---:", "---:"], *gaps]
        parts.append("\n".join([f"**{gap_title(results)}**", "", *map(_pipes, body)]))
    parts += [*results.notes, *results.remarks]
    return "\n\n".join(parts) + "\n"


GAP_COLUMNS = ("Models", "Difference", "95 % interval", "Seeds")


def gap_title(results: Results) -> str:
    first = results.plan.rows()[0]
    return f"Differences from {first.label}, in percentage points"


def gap_lines(results: Results) -> list[list[str]]:
    """The cells of the table of differences: mean ± deviation over seeds, and the interval of the mean by
    a bootstrap of the photographs."""
    found = []
    for row in results.plan.rows():
        if (gap := results.gaps.get(row.key)) is None:
            continue
        mean = f"{gap.mean:+.1f}" if gap.spread is None else f"{gap.mean:+.1f} ± {gap.spread:.1f}"
        interval = "" if gap.interval is None else f"[{gap.interval[0]:+.1f}, {gap.interval[1]:+.1f}]"
        found.append([row.label, mean, interval, str(len(gap.seeds))])
    return found


def columns(number: int) -> list[str]:
    kinds = ["SCE", "Fusion", "Auxiliary loss"] if number == 4 else ["Kernel size"]
    return ["Models", *kinds, "PCK", "Seeds", "PF-PASCAL, published"]


def lines(results: Results, number: int) -> list[list[str]]:
    """The cells of one table, one list per row."""
    found = []
    for row in in_table(results.plan.rows(), number):
        kinds = modules(row) if number == 4 else ["-" if row.kernel is None else str(row.kernel)]
        found.append([row.method, *kinds, *_numbers(results, row), _published(row, number)])
    return found


def modules(row: Row) -> list[str]:
    """The paper's columns for S, D and A, derived from the row's network."""
    model = row.model
    context = "✓" if "context" in model.branches else "-"
    if model.fusion is None:
        return [context, "-", "-"]
    embedding = "w/" if model.embedding else "w/o"
    fusion = f"{model.fusion.capitalize()} {embedding} Corr Embedding"
    return [context, fusion, "✓" if model.auxiliary_loss else "✗"]


def _numbers(results: Results, row: Row) -> list[str]:
    """The row's PCK and the number of seeds that it is the mean of."""
    mean, spread = results.mean(row), results.spread(row)
    runs, scored, seeds = results.of(row), len(results.scores(row)), len(results.plan.seeds)
    count = str(seeds) if scored == seeds else f"{scored} of {seeds}"
    if mean is None:
        return ["failed" if runs else "to come", count]
    return [f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}", count]


def _published(row: Row, number: int) -> str:
    """The published PCK; in Table 5 with its kernel, if that is not the row's own."""
    if row.published is None:
        return ""
    other = number == 5 and row.published_kernel != row.kernel
    return f"{row.published:.1f} (k = {row.published_kernel})" if other else f"{row.published:.1f}"


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
