"""``dcc compare``."""

from __future__ import annotations

import json
from pathlib import Path

import click

PLACE = click.Path(path_type=Path)


@click.command("compare")
@click.argument("results", nargs=-1, required=True, metavar="RESULT...", type=PLACE)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for comparison.html and .json, table.md, .csv and .tex, and pairs.csv.",
)
@click.option("--names", metavar="A,B...", help="Names of the models.  [default: those of the folders]")
@click.option("--data", metavar="DIR|LIST", type=PLACE, help="Where the benchmark is now, if it was moved.")
@click.option("--root", metavar="DIR", type=PLACE, help="Where its pictures are now, if they were moved.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare_command(
    results: tuple[Path, ...],
    output: Path | None,
    names: str | None,
    data: Path | None,
    root: Path | None,
    as_json: bool,
) -> None:
    """Compare evaluations of several models on one benchmark: the folders that dcc eval -o wrote.

    \b
    dcc compare results/ncnet results/dccnet -o comparison
    dcc compare sweep -o comparison
    dcc compare results --names NC-Net,DCCNet -o comparison
    dcc compare results/ncnet results/dccnet --json

    All are compared with the first, on the same pairs: the mean difference with its 95 % interval, by a
    bootstrap of the photographs; by class; pair by pair; and in pictures, where one wins and the other
    loses. An interval that does not contain 0 is a difference that other photographs would show, too. A
    folder with the results of several models stands for all of them, and one of dcc ablate for its runs.
    """
    from dccnet.evaluation.compare.differences import compare
    from dccnet.evaluation.compare.reading import load_compared, read_results
    from dccnet.evaluation.compare.suggestion import figure_of
    from dccnet.evaluation.compare.tables import terminal
    from dccnet.evaluation.compare.writing import PAGE, to_dict, write_comparison
    from dccnet.evaluation.options import parse_names
    from dccnet.evaluation.results import RESULTS
    from dccnet.evaluation.tables import WIDTH
    from dccnet.runtime.console import note, print_wide
    from dccnet.runtime.errors import UsageError

    if output is not None and (output / RESULTS).exists():
        raise UsageError(f"{output} is an evaluation, whose pairs.csv would be lost: name another folder")
    found = read_results(results, None if names is None else parse_names(names))
    if names is not None:
        for result in found:
            note(f"{result.name}: {result.folder}")
    benchmark = load_compared(found, data, root)
    comparison = compare(found, benchmark)
    if output is not None:
        write_comparison(output, benchmark, comparison)
        note(f"wrote {output / PAGE}, the tables as .md, .csv and .tex, and pairs.csv")
        if data is None and root is None:  # else dcc figure needs all options of the list
            note(f"next: {figure_of(results, comparison, names)}")
    if as_json:
        click.echo(json.dumps(to_dict(comparison), indent=2, allow_nan=False))
    else:
        print_wide(terminal(comparison), WIDTH)
