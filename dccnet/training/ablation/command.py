"""``dcc ablate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dccnet.runtime.option_groups import GroupedCommand
from dccnet.training.ablation.kernels import PRESETS_OF_ROWS, STAND_FOR
from dccnet.training.commands import network_config, require_torch, set_option, was_given
from dccnet.training.options import GROUPS, training_options

FOLDER = click.Path(path_type=Path, file_okay=False)
_KERNELS = "; ".join(f"{base} {','.join(map(str, kernels))}" for base, kernels in STAND_FOR.items())


def numbers(least: int, most: int) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A click callback for comma-separated whole numbers in [least, most]; drops repetitions."""

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


def presets(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...]:
    """A click callback for comma-separated names of rows; drops repetitions."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(","))) if text is not None else ()
    if unknown := [name for name in found if name not in PRESETS_OF_ROWS]:
        listed = ", ".join(PRESETS_OF_ROWS)
        raise click.BadParameter(f"there is no row '{unknown[0]}': choose from {listed}", ctx, param)
    return found


_GROUPS = {
    "Sweep": "--base --rows --set --tables --kernels --seeds",
    **GROUPS,
    "Validation": f"{GROUPS['Validation']} --test",
    "Output": f"--output --resume {GROUPS['Output']} --json",
}


@click.command(cls=GroupedCommand, groups=_GROUPS)
@click.option(
    "--base",
    type=click.Choice(list(STAND_FOR)),
    default="dccnet",
    show_default=True,
    help="Network that sets the sizes and the training recipe of all rows.",
)
@click.option(
    "--rows",
    callback=presets,
    metavar="A,B...",
    help=f"Train these methods only: {', '.join(PRESETS_OF_ROWS)}.  [default: all of --tables]",
)
@set_option
@click.option(
    "--tables",
    callback=numbers(4, 5),
    metavar="4,5",
    default="4,5",
    show_default=True,
    help="Tables of the paper to reproduce; with --rows, 4 unless given.",
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
    help="Train each network once with each of these seeds.",
)
@click.option(
    "--test", metavar="LIST", help="CSV list of pairs with keypoints to score on.  [default: --validate's]"
)
@training_options
@click.option("-o", "--output", metavar="DIR", type=FOLDER, help="Folder of the sweep.")
@click.option(
    "--resume", metavar="DIR", type=FOLDER, help="Continue the sweep in DIR with its own settings."
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.pass_context
def ablate(
    ctx: click.Context,
    /,
    base: str,
    rows: tuple[str, ...],
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
    dcc ablate --base tiny --rows ncnet,dccnet --data train.csv --test test.csv --seeds 1,2,3 -o two
    dcc ablate --resume ablations

    After an interruption of any kind, the same command continues the sweep: it keeps finished runs and
    resumes an interrupted one. Seeds, rows, tables and kernels can be added later. DIR contains
    results.json, runs.csv, tables.md and a folder for each run.
    """
    from dccnet.runtime.console import note, print_wide
    from dccnet.runtime.errors import DccError, UsageError

    if (output is None) == (resume is None):
        raise UsageError("give either -o FOLDER for a new sweep, or --resume FOLDER to continue one")
    given = {name for name in ctx.params if was_given(ctx, name)}
    if resume is not None and given - {"resume", "as_json"}:
        raise UsageError("--resume uses the settings of the sweep: combine it with nothing else but --json")
    require_torch()
    from dccnet.training.ablation.plan import make_plan, read_plan
    from dccnet.training.ablation.results import to_dict
    from dccnet.training.ablation.sweep import sweep
    from dccnet.training.ablation.tables import terminal
    from dccnet.training.cpu import fast_cpu_settings
    from dccnet.training.processes import joins_others
    from dccnet.training.recipes import recipe

    if joins_others():
        raise UsageError("a sweep runs in one process: start dcc ablate without torchrun")
    if resume is not None:
        plan = read_plan(resume)
    else:
        training = options | recipe(base) | {name: options[name] for name in given & options.keys()}
        model = network_config(base, changes)
        if rows and "tables" not in given:
            tables = (4,)
        plan = make_plan(
            base, model, training, test, tables=tables, kernels=kernels, seeds=seeds, methods=rows
        )
    folder = output or resume
    assert folder is not None
    try:
        with fast_cpu_settings():
            results = sweep(plan, folder)
    except KeyboardInterrupt:
        note(f"stopped: continue with dcc ablate --resume {folder}")
        raise
    if as_json:
        click.echo(json.dumps(to_dict(results), indent=2, allow_nan=False))
    else:
        from dccnet.evaluation.tables import WIDTH

        print_wide(terminal(results), WIDTH)
    note(f"tables, results and runs are in {folder}")
    failures = results.failures()
    if len(plan.runs()) - len(failures) > 1:
        note(f"next: dcc compare {folder} -o comparison")
    if failures:
        raise DccError(
            f"{len(failures)} of {len(plan.runs())} runs failed, see the table: "
            f"dcc ablate --resume {folder} tries them again"
        )
