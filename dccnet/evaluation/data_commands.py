"""``dcc data``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dccnet.evaluation.datasets.check import Check

NAMES = ("pf-pascal", "pf-willow", "tss", "spair")


@click.group()
def data() -> None:
    """Check or fetch the files of a published benchmark."""


@data.command(short_help="Verify a downloaded benchmark.")
@click.argument("name", type=click.Choice(NAMES))
@click.argument("folder", metavar="DIR|LIST", type=click.Path(path_type=Path))
@click.option("--root", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the list's paths.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def check(name: str, folder: Path, root: Path | None, as_json: bool) -> None:
    """Verify a downloaded benchmark: its list, counts, every picture, every true flow.

    Exit code 3 where something is wrong; each problem is a line on stderr.
    """
    from dccnet.evaluation.datasets.check import check as run_check
    from dccnet.evaluation.datasets.check import to_dict
    from dccnet.evaluation.datasets.sources import SOURCES
    from dccnet.runtime.console import console, progress_bar
    from dccnet.runtime.errors import NotVerifiedError

    with progress_bar() as progress:
        task = progress.add_task("pictures", total=None)
        result = run_check(
            name,
            SOURCES[name],
            folder,
            root,
            on_start=lambda total: progress.update(task, total=total),
            on_picture=lambda: progress.advance(task),
        )
    if as_json:
        click.echo(json.dumps(to_dict(result), indent=2))
    else:
        _print(name, result)
    for problem in result.problems:
        console.print(f"problem: {problem}", style="red", markup=False)
    if result.problems:
        raise NotVerifiedError(
            f"{folder} is not {SOURCES[name].title} as published ({len(result.problems)} found wrong): "
            "fetch it again, or take its numbers for what they are"
        )


@data.command(short_help="Download and unpack a benchmark.")
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "-o", "--output", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to fill."
)
@click.option("--mirror", metavar="URL", help="Address that the files lie below, in place of the authors'.")
def fetch(name: str, output: Path, mirror: str | None) -> None:
    """Download a benchmark, check it against the hashes of the first download, and unpack it.

    What has arrived is kept: call again to go on. The addresses are the authors' (docs/evaluation.md).
    """
    from dccnet.evaluation.datasets.fetch import Listener
    from dccnet.evaluation.datasets.fetch import fetch as run_fetch
    from dccnet.evaluation.datasets.sources import SOURCES
    from dccnet.runtime.console import note, progress_bar

    note(f"{SOURCES[name].title}: see {SOURCES[name].page} for its terms of use")
    with progress_bar("{task.fields[unit]}") as progress:
        task = progress.add_task(name, total=None, unit="")

        def on_bytes(there: int, total: int | None) -> None:
            megabytes = None if total is None else total / 1e6
            progress.update(task, completed=round(there / 1e6, 1), total=megabytes, unit="MB")

        def on_start(text: str) -> None:
            note(text)
            progress.update(task, description=text, completed=0, total=None, unit="")

        def on_file(number: int) -> None:
            progress.update(task, completed=number, unit="files")

        run_fetch(SOURCES[name], output, mirror, Listener(on_start, on_bytes, on_file))
    click.echo(output)
    note(f"next: dcc data check {name} {output}")


def _print(name: str, result: Check) -> None:
    click.echo(f"{name}: {result.pairs} pairs of {result.pictures} pictures, {result.keypoints} keypoints")
    if result.smallest is not None and result.largest is not None:
        (h0, w0), (h1, w1) = result.smallest, result.largest
        click.echo(f"pictures: {w0}x{h0} to {w1}x{h1} pixels")
    click.echo("classes: " + ", ".join(f"{name} {count}" for name, count in result.classes.items()))
    if result.outside:
        click.echo(f"{result.outside} keypoints lie outside of their pictures; they count as they are")
    click.echo(f"list SHA-256: {result.list_sha256}")
