"""``dcc doctor`` and ``dcc info``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from diagnostics.doctor import Report
    from diagnostics.info import Description, Row

SCHEMA = 1
WIDEST = 6
"""Columns of a table, at most."""
MARKS = {"ok": ("ok", "green"), "absent": ("-", "dim"), "problem": ("!", "bold red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say whether dcc works on this machine and, where it does not, what to type.

    Exit code 1 if something is wrong (!). What is merely absent (-) is not.
    """
    from diagnostics.doctor import examine

    report = examine()
    if as_json:
        click.echo(json.dumps(_as_json(report), indent=2))
    else:
        _print_report(report)
    ctx.exit(1 if report.problems else 0)


def _as_json(report: Report) -> dict[str, object]:
    checks = [
        {"section": title, **dataclasses.asdict(check)}
        for title, checks in report.sections.items()
        for check in checks
    ]
    problems = [check for check in checks if check["status"] == "problem"]
    return {"schema": SCHEMA, "checks": checks, "problems": problems, "abilities": report.abilities}


def _print_report(report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    console = _console()
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, checks in report.sections.items():
        if checks:
            table.add_row("", Text(title, "bold"))
        for check in checks:
            mark, style = MARKS[check.status]
            found = Text(check.value, "dim" if check.status == "absent" else "")
            if check.cure is not None and check.status != "problem":
                found.append(f": {check.cure}", "cyan")
            table.add_row(Text(mark, style), check.name, found)
        table.add_row()
    console.print(table)
    for number, check in enumerate(report.problems, 1):
        console.print(f"{number}. {check.name}: {check.value}", style="bold", soft_wrap=True)
        console.print(f"   {check.cure}\n", style="cyan", soft_wrap=True)
    console.print(_summary(report.abilities), soft_wrap=True)


def _summary(abilities: dict[str, bool]) -> str:
    can = [name for name, able in abilities.items() if able]
    cannot = [name for name, able in abilities.items() if not able]
    parts = [f"can {_listed(can, 'and')}"] if can else []
    parts += [f"cannot {_listed(cannot, 'or')}"] if cannot else []
    return f"This machine {'; it '.join(parts)}."


def _listed(names: list[str], last: str) -> str:
    return f" {last} ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def info(path: Path, as_json: bool) -> None:
    """Say what PATH is: a bundle, an engine, an ONNX graph or a checkpoint.

    Layers by class and precision as read back from the file, memory, sizes, and where it comes from. An
    engine is not loaded; its sidecar and header are read, and its hash is compared.
    """
    from diagnostics.info import describe, to_json

    description = describe(path)
    if as_json:
        click.echo(to_json(description))
    else:
        _print_description(path, description)


def _print_description(path: Path, description: Description) -> None:
    from rich.table import Table

    console = _console()
    facts = Table(title=f"{description.kind} {path}", title_justify="left", show_header=False, box=None)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in description.facts.items():
        facts.add_row(name, _text(value))
    console.print(facts)
    for title, rows in description.tables.items():
        if rows:
            console.print()
            console.print(_table(title, rows))


def _table(title: str, rows: list[Row]) -> Table:
    """A line for each row or, where that were too wide, a column."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="dim")
    if len(rows[0]) > WIDEST:
        name, *fields = rows[0]
        for heading in (name, *(str(row[name]) for row in rows)):
            table.add_column(heading)
        for field in fields:
            table.add_row(field, *(_text(row[field]) for row in rows))
        return table
    for column in rows[0]:
        numeric = all(isinstance(row[column], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    return table


def _text(value: object) -> str:
    return "unknown" if value is None else str(value)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)  # 'dccnet[gpu]' is no markup
    if not console.is_terminal:
        console.width = 160  # a file has no edge to fold at
    return console
