"""The options of ``dcc match`` that only ``--pairs`` uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from dccnet.runtime.bulk.results import FORMATS, PARQUET
from dccnet.runtime.option_types import Function, Number, Whole

GROUP = "--pairs --root --format --shard --cache-gb --restart --ray --workers"


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """The fields have the names of the options; None and False: not given."""

    pairs: Path | None
    root: Path | None
    format: str | None
    shard: str | None
    cache_gb: float | None
    restart: bool
    ray: str | None
    workers: int | None


def bulk_options(function: Function) -> Function:
    """Add the options to a command."""
    for decorate in reversed(_OPTIONS):
        function = decorate(function)
    return function


_OPTIONS = (
    click.option(
        "--pairs",
        type=click.Path(path_type=Path),
        metavar="LIST",
        help="Match every pair of a .csv or .parquet file with the columns source, target and perhaps "
        "points (of the source), into the folder -o. A stopped run continues.",
    ),
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Folder of the list's pictures.  [default: the list's]",
    ),
    click.option(
        "--format", type=click.Choice(FORMATS), help=f"Format of the results.  [default: {PARQUET}]"
    ),
    click.option("--shard", metavar="K/N", help="Match the K-th of N pieces of the list, such as 3/100."),
    click.option(
        "--cache-gb",
        type=Number(0),
        metavar="GIB",
        help="Memory for features, so that a picture is encoded few times.  [default: 1]",
    ),
    click.option("--restart", is_flag=True, help="Delete an earlier run's results in -o, and start again."),
    click.option(
        "--ray",
        metavar="ADDRESS",
        help="Match on a Ray cluster: HOST:PORT, auto, or local for this machine's cores. All machines see "
        "the list, the pictures and -o under the same paths.",
    ),
    click.option(
        "--workers",
        type=Whole(1),
        metavar="N",
        help="Processes on Ray, of --threads cores (1 by default) and with --device cuda a GPU each.  "
        "[default: as many as fit]",
    ),
)
