"""``dcc info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from dccnet.export.info import Description, Row

WIDEST = 6
"""Largest number of columns of a table."""


@click.command()
@click.argument("path", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def info(path: str, as_json: bool) -> None:
    """Describe PATH: a bundle (or its name or address), an engine, an ONNX graph or a checkpoint.

    Prints layers by class and precision, as read back from the file, sizes, memory and where the file comes
    from. Engines are not loaded: their sidecar and header are read, and their hash is compared.
    """
    from dccnet.export.info import describe, to_json
    from dccnet.runtime.console import note
    from dccnet.runtime.models.names import find_model

    description = describe(find_model(path, note))
    if as_json:
        click.echo(to_json(description))
    else:
        _print_description(path, description)


def _print_description(path: str, description: Description) -> None:
    from rich.table import Table

    from dccnet.runtime.console import wide_console

    console = wide_console()
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
    """A table with a line for each row or, where that would be too wide, a column for each row."""
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
