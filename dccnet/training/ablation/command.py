"""``dcc ablate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dccnet.training.ablation.kernels import STAND_FOR
from dccnet.training.commands import network_config, require_torch, set_option, was_given
from dccnet.training.options import training_options

FOLDER = click.Path(path_type=Path, file_okay=False)
_KERNELS = "; ".join(f"{base} {','.join(map(str, kernels))}" for base, kernels in STAND_FOR.items())


def numbers(least: int, most: int) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback for whole numbers between commas: each once, in the order given."""

    def parse(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...] | None:
        if text is None:
            return None
        try:
            found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
            if not all(least <= number <= most for number in found):
                raise ValueError
        except ValueError:
            message = f"'{text}' must be whole numbers from {least} to {most} between commas"
            raise click.BadParameter(message, ctx, param) from None
        return found

    return parse


@click.command()
@click.option(
    "--base",
    type=click.Choice(list(STAND_FOR)),
    default="dccnet",
    show_default=True,
    help="Sizes of all networks, and the recipe they are trained with.",
)
@set_option
@click.option(
    "--tables",
    callback=numbers(4, 5),
    metavar="4,5",
    default="4,5",
    show_default=True,
    help="Of the paper.",
)
@click.option(
    "--kernels",
    callback=numbers(1, 999),
    metavar="K,K...",
    help=f"Context kernels of Table 5.  [default: {_KERNELS}]",
)
@click.option(
    "--seeds",
    callback=numbers(0, 2**31 - 1),
    metavar="S,S...",
    default="1,2,3",
    show_default=True,
    help="Each network is trained with each.",
)
@click.option(
    "--test", metavar="LIST", help="CSV list of pairs with keypoints to score on.  [default: --validate's]"
)
@training_options
@click.option("-o", "--output", metavar="DIR", type=FOLDER, help="Folder of the sweep.")
@click.option(
    "--resume", metavar="DIR", type=FOLDER, help="Go on with the sweep in DIR as it was asked for."
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.pass_context
def ablate(
    ctx: click.Context,
    /,
    base: str,
    changes: tuple[str, ...],
    tables: tuple[int, ...],
    kernels: tuple[int, ...] | None,
    seeds: tuple[int, ...],
    test: str | None,
    output: Path | None,
    resume: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train and score the rows of the paper's Tables 4 and 5 as one sweep.

    \b
    dcc ablate --data train.csv --validate val.csv --test test.csv -o ablations
    dcc ablate --base tiny --data train.csv --validate test.csv --seeds 1 -o ablations
    dcc ablate --resume ablations

    A sweep that was stopped, however it was, goes on when the same command is called again: finished
    runs are kept, an interrupted one continues. Seeds, tables and kernels may be added later. DIR
    receives results.json, runs.csv, tables.md and a folder for each run.
    """
    from dccnet.runtime.console import note, print_wide
    from dccnet.runtime.errors import DccError, UsageError

    if (output is None) == (resume is None):
        raise UsageError("name either the sweep's folder with -o, or a sweep to go on with after --resume")
    given = {name for name in ctx.params if was_given(ctx, name)}
    if resume is not None and given - {"resume", "as_json"}:
        raise UsageError("--resume takes its settings from the sweep: give it nothing else but --json")
    require_torch()
    from dccnet.training.ablation.plan import make_plan, read_plan
    from dccnet.training.ablation.results import to_dict
    from dccnet.training.ablation.sweep import sweep
    from dccnet.training.ablation.tables import terminal
    from dccnet.training.cpu import settled
    from dccnet.training.processes import joins_others
    from dccnet.training.recipes import recipe

    if joins_others():
        raise UsageError("a sweep is one process: start dcc ablate without torchrun")
    if resume is not None:
        plan = read_plan(resume)
    else:
        training = options | recipe(base) | {name: options[name] for name in given & options.keys()}
        model = network_config(base, changes)
        plan = make_plan(base, model, training, test, tables=tables, kernels=kernels, seeds=seeds)
    folder = output or resume
    assert folder is not None
    try:
        with settled():
            results = sweep(plan, folder)
    except KeyboardInterrupt:
        note(f"stopped: dcc ablate --resume {folder} goes on from here")
        raise
    if as_json:
        click.echo(json.dumps(to_dict(results), indent=2, allow_nan=False))
    else:
        from dccnet.evaluation.tables import WIDTH

        print_wide(terminal(results), WIDTH)
    note(f"tables, results and runs are in {folder}")
    failures = results.failures()
    if failures:
        raise DccError(
            f"{len(failures)} of {len(plan.runs())} runs failed, see the table: "
            f"dcc ablate --resume {folder} tries them again"
        )
