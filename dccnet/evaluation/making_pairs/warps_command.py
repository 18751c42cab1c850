"""``dcc data warps``."""

from __future__ import annotations

from pathlib import Path

import click

from dccnet.runtime.option_types import Whole


@click.command(short_help="Make pairs of warped views of your pictures, with true matches.")
@click.argument("source", metavar="LIST|DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to fill."
)
@click.option("--views", type=Whole(1, 100), default=4, show_default=True, help="Pairs of each picture.")
@click.option(
    "--seed",
    type=Whole(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Of the warps: the same seed makes the same pairs.",
)
def warps(source: Path, output: Path, views: int, seed: int) -> None:
    """Make pairs to score networks on from pictures without keypoints: two views of one picture each.

    \b
    dcc data warps test.csv -o warped
    dcc eval MODEL --benchmark pairs --data warped/pairs.csv

    The pictures are those of the pairs in LIST, or of DIR with a folder for each class. One view is a
    crop, the other a random warp of it, with other colours and light; the warp gives the true matches of 25
    points. Such pairs show whether a network finds the same thing in another shape, not whether it finds
    the same part of a different thing: only keypoints tell that.
    """
    from dccnet.evaluation.making_pairs.photographs import find_photographs, pictures_of
    from dccnet.evaluation.making_pairs.warps import LIST, write_warps
    from dccnet.runtime.console import note, progress_bar
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.locks import output_lock

    if (output / LIST).exists():
        raise UsageError(f"{output} already holds a list of pairs: choose another folder")
    found = find_photographs(source).photographs if source.is_dir() else pictures_of(source)
    with output_lock(output), progress_bar() as progress:
        task = progress.add_task("pairs", total=len(found) * views)
        for _ in write_warps(found, output, views, seed):
            progress.advance(task)
    click.echo(output / LIST)
    note(f"{len(found) * views} pairs of {len(found)} pictures")
    note(f"next: dcc eval MODEL --benchmark pairs --data {output / LIST}")
