"""``dcc tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dccnet.runtime.option_types import Whole

if TYPE_CHECKING:
    from rich.table import Table

    from dccnet.runtime.tuning.choice import Choice

ROUNDS = 15
BUSY = 1.3
"""Spread of the times (``Measured.spread``) from which they are called unsure."""


@click.command("tune")
@click.argument("bundle", required=False)
@click.option(
    "--threads",
    multiple=True,
    type=Whole(1, 256),
    help="Number of CPU threads to try; repeatable.  [default: all cores; from four on, also half of them]",
)
@click.option("--bf16", is_flag=True, help="Also try OpenVINO in bfloat16, which is less exact.")
@click.option(
    "--rounds", type=Whole(3), default=ROUNDS, show_default=True, help="Number of turns of each way."
)
@click.option("--reset", is_flag=True, help="Forget the choice for this bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print the choice and all times as JSON.")
def tune_command(
    bundle: str | None, threads: tuple[int, ...], bf16: bool, rounds: int, reset: bool, as_json: bool
) -> None:
    """Measure which engines run BUNDLE fastest on this machine, for --backend auto.

    \b
    dcc tune bundle
    dcc tune small-1 --bf16
    dcc tune bundle --reset

    BUNDLE is a folder, a name that dcc models lists, or an address.  [default: the built-in model]

    Times encoder and matcher in ONNX Runtime and OpenVINO, and both on an NVIDIA GPU, each in turns, and
    compares their answers with ONNX Runtime's on the CPU: what disagrees is not chosen. The choice is kept
    in tuning.json in the bundle's folder, or in your cache: if the folder cannot be written, and with
    bfloat16, so that nobody gets that with a copy of the bundle. It holds for this machine and these
    versions; elsewhere it is ignored.
    """
    import dataclasses
    import json

    from dccnet.calibration.agreement import find_pairs
    from dccnet.calibration.tuning.candidates import usual_threads, ways_on_host
    from dccnet.calibration.tuning.measure import tune
    from dccnet.export.bundles.samples import PICTURES
    from dccnet.runtime.console import note, print_wide, steps, warn
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.models.names import open_bundle
    from dccnet.runtime.tuning.kept import keep, remove

    if reset and (threads or bf16 or as_json):
        raise UsageError("--reset forgets the choice and measures nothing: give it alone")
    opened = open_bundle(bundle, note)
    if reset:
        removed = remove(opened)
        note("removed " + " and ".join(map(str, removed)) if removed else "there was no choice to forget")
        return
    ways = ways_on_host(threads or usual_threads(), bf16)
    pairs = find_pairs(str(PICTURES), 3, opened.manifest.image_size)
    with steps("measuring", 2 * len(ways) + 2) as step:
        choice = tune(opened, ways, pairs, rounds, step, note)
    file = keep(opened, choice)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(choice), indent=2))
    else:
        print_wide(_table(choice), 120)
    if max(each.spread for each in choice.measured) > BUSY:
        warn("other programs kept this machine busy: for times to rely on, run dcc tune when it is idle")
    note(f"--backend auto now runs {choice.summary} ({file})")


def _table(choice: Choice) -> Table:
    from rich.table import Table

    table = Table()
    for column in ("graph", "engine", "ms", "chosen"):
        table.add_column(column, justify="right" if column == "ms" else "left")
    for each in choice.measured:
        chosen = each.way == getattr(choice, each.graph)
        mark = "yes" if chosen else "" if each.problem is None else f"no: {each.problem}"
        table.add_row(each.graph, each.way.title, f"{each.milliseconds:.1f}", mark)
    return table
