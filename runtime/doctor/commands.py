"""``dcc doctor``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dccnet.runtime.doctor.report import Report

SCHEMA = 1
MARKS = {"ok": ("ok", "green"), "absent": ("-", "dim"), "problem": ("!", "bold red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check whether dcc works on this machine and, where it does not, say what to type.

    Exit code 1 if there is a problem (!). Something that is absent (-) is not a problem.
    """
    from dccnet.runtime.doctor.report import examine

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

    from dccnet.runtime.console import wide_console

    console = wide_console()
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
    parts = [f"can {_join_names(can, 'and')}"] if can else []
    parts += [f"cannot {_join_names(cannot, 'or')}"] if cannot else []
    return f"This machine {'; it '.join(parts)}."


def _join_names(names: list[str], last: str) -> str:
    return f" {last} ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])
