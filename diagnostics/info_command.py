"""``dcc info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from diagnostics.info import Description


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
        _print(path, description)


def _print(path: Path, description: Description) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=False)
    facts = Table(title=f"{description.kind} {path}", title_justify="left", show_header=False, box=None)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in description.facts.items():
        facts.add_row(name, "unknown" if value is None else str(value))
    console.print(facts)
    for title, rows in description.tables.items():
        if not rows:
            continue
        table = Table(title=title, title_justify="left")
        for column in rows[0]:
            table.add_column(column, justify="right" if _numeric(rows, column) else "left")
        for row in rows:
            table.add_row(*("?" if value is None else str(value) for value in row.values()))
        console.print(table)


def _numeric(rows: list[dict[str, object]], column: str) -> bool:
    return all(isinstance(row[column], (int, float)) for row in rows)
