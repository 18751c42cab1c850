"""``dcc data``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dccnet.evaluation.making_pairs.command import pairs
from dccnet.evaluation.making_pairs.warps_command import warps
from dccnet.runtime.option_types import Whole

if TYPE_CHECKING:
    from dccnet.evaluation.datasets.check import CheckReport

NAMES = ("pf-pascal", "pf-willow", "tss", "spair")


@click.group()
def data() -> None:
    """Check or download a published benchmark, or make lists of pairs."""


@data.command(short_help="Verify a downloaded benchmark.")
@click.argument("name", type=click.Choice(NAMES))
@click.argument("folder", metavar="DIR|LIST", type=click.Path(path_type=Path))
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder that the list's paths start from.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(name: str, folder: Path, root: Path | None, as_json: bool) -> None:
    """Verify a downloaded benchmark: its list, counts, every picture, every true flow.

    Exits with code 3 if there are problems, with one line on stderr for each.
    """
    from dccnet.evaluation.datasets.check import check as run_check
    from dccnet.evaluation.datasets.check import to_dict
    from dccnet.evaluation.datasets.sources import SOURCES
    from dccnet.runtime.console import console, progress_bar
    from dccnet.runtime.errors import NotVerifiedError

    with progress_bar() as progress:
        task = progress.add_task("pictures", total=None)
        report = run_check(
            name,
            SOURCES[name],
            folder,
            root,
            on_start=lambda total: progress.update(task, total=total),
            on_picture=lambda: progress.advance(task),
        )
    if as_json:
        click.echo(json.dumps(to_dict(report), indent=2))
    else:
        _print(name, report)
    for problem in report.problems:
        console.print(f"problem: {problem}", style="red")
    if report.problems:
        raise NotVerifiedError(
            f"{folder} differs from the published {SOURCES[name].title} ({len(report.problems)} problems): "
            "fetch it again; results on it are not comparable"
        )


@data.command(short_help="Download and unpack a benchmark.")
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "-o", "--output", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to fill."
)
@click.option(
    "--mirror",
    metavar="URL",
    help="Address of a folder with the files, in place of the authors' addresses.",
)
def fetch(name: str, output: Path, mirror: str | None) -> None:
    """Download a benchmark, check it against the hashes of its first download, and unpack it.

    Received bytes are kept: call again to resume. The addresses are the authors' (docs/evaluation.md).
    """
    from dccnet.evaluation.datasets.fetch import Listener
    from dccnet.evaluation.datasets.fetch import fetch as run_fetch
    from dccnet.evaluation.datasets.sources import SOURCES
    from dccnet.runtime.console import note, progress_bar

    note(f"{SOURCES[name].title}: see {SOURCES[name].page} for its terms of use")
    with progress_bar("{task.fields[unit]}") as progress:
        task = progress.add_task(name, total=None, unit="")

        def on_bytes(received: int, total: int | None) -> None:
            megabytes = None if total is None else total / 1e6
            progress.update(task, completed=round(received / 1e6, 1), total=megabytes, unit="MB")

        def on_start(text: str) -> None:
            note(text)
            progress.update(task, description=text, completed=0, total=None, unit="")

        def on_file(number: int) -> None:
            progress.update(task, completed=number, unit="files")

        run_fetch(SOURCES[name], output, mirror, Listener(on_start, on_bytes, on_file))
    click.echo(output)
    note(f"next: dcc data check {name} {output}")


@data.command(short_help="Make pairs of things with repeated parts.")
@click.option(
    "-o", "--output", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to fill."
)
@click.option(
    "--photographs",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Photographs to make them of, at least two.  [default: scikit-image's that are free to use]",
)
@click.option("--pairs", "count", type=Whole(1), default=200, show_default=True, help="Number of pairs.")
@click.option(
    "--side",
    type=Whole(64, 4096),
    default=256,
    show_default=True,
    help="Height and width of the pictures in pixels.",
)
@click.option(
    "--seed",
    type=Whole(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Seed of all random numbers.",
)
def repeated(output: Path, photographs: Path | None, count: int, side: int, seed: int) -> None:
    """Make pairs of pictures of things with repeated parts, and write their list with the true matches.

    \b
    dcc data repeated -o repeated
    dcc eval MODEL --benchmark pairs --data repeated/pairs.csv

    Windows, wheels, legs and keys in turn: copies of a piece of one photograph on a plate cut from another,
    before a third, warped. Only its place within the thing tells a part from its copies. Keypoints are the
    centres of the parts.
    """
    from dccnet.evaluation.photographs import FREE, photograph
    from dccnet.runtime.console import note, progress_bar
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.images import find_images, read_image
    from dccnet.runtime.locks import output_lock
    from dccnet.training.repeated import LIST, write_repeated

    if (output / LIST).exists():
        raise UsageError(f"{output} already holds a list of pairs: choose another folder")
    pieces = (
        [photograph(name) for name in FREE]
        if photographs is None
        else [read_image(path) for path in find_images(photographs)]
    )
    with output_lock(output), progress_bar() as progress:
        task = progress.add_task("pairs", total=count)
        for _ in write_repeated(pieces, output, count, seed, (side, side)):
            progress.advance(task)
    click.echo(output / LIST)
    note(f"next: dcc eval MODEL --benchmark pairs --data {output / LIST}")


def _print(name: str, report: CheckReport) -> None:
    click.echo(f"{name}: {report.pairs} pairs of {report.pictures} pictures, {report.keypoints} keypoints")
    if report.smallest is not None and report.largest is not None:
        (h0, w0), (h1, w1) = report.smallest, report.largest
        click.echo(f"pictures: {w0}x{h0} to {w1}x{h1} pixels")
    click.echo("classes: " + ", ".join(f"{name} {count}" for name, count in report.classes.items()))
    if report.outside:
        click.echo(f"{report.outside} keypoints lie outside their pictures; they are scored nevertheless")
    click.echo(f"list SHA-256: {report.list_sha256}")


data.add_command(pairs)
data.add_command(warps)
