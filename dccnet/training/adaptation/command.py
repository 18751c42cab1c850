"""``dcc adapt``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import Number, Whole
from dccnet.training.adaptation.settings import AdaptSettings
from dccnet.training.commands import require_torch, seed_option
from dccnet.training.options import root_option, skip_unreadable_option

DEFAULTS = AdaptSettings()

_GROUPS = {
    "Pictures": "--data --root --skip-unreadable",
    "Recipe": "--rank --steps --strength --opposite --views --seed",
    "Machine": "--memory",
    "Output": "--output --json",
}


@click.command(cls=GroupedCommand, groups=_GROUPS)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    metavar="LIST",
    help="CSV list of pairs that show one kind of things.",
)
@root_option
@skip_unreadable_option
@click.option(
    "--rank",
    type=Whole(1, 4096),
    default=DEFAULTS.rank,
    show_default=True,
    help="How many directions of the feature space can change.",
)
@click.option(
    "--steps",
    type=Whole(1),
    default=DEFAULTS.steps,
    show_default=True,
    help="Steps of training, on six pairs of views each.",
)
@click.option(
    "--strength",
    type=Number(0, 1, min_open=True),
    default=DEFAULTS.strength,
    show_default=True,
    help="Share of the learnt change that is kept. Less keeps more of what the network could do before.",
)
@click.option(
    "--opposite",
    type=Number(0, 1),
    default=DEFAULTS.opposite,
    show_default=True,
    help="Share of pairs that show things facing opposite ways.",
)
@click.option(
    "--views",
    type=Whole(2),
    default=DEFAULTS.views,
    show_default=True,
    help="Views of each picture, half of them mirrored; fewer where --memory does not suffice.",
)
@seed_option
@click.option(
    "--memory",
    type=Number(0, min_open=True),
    default=DEFAULTS.memory / 1e9,
    show_default=True,
    help="Gigabytes for the features of all views.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def adapt_command(
    model: Path,
    data: str,
    root: str | None,
    skip_unreadable: bool,
    memory: float,
    output: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Adapt the features of MODEL (.safetensors) to pictures of one kind, without keypoints.

    \b
    dcc adapt small.safetensors --data pairs.csv -o adapted.safetensors
    dcc adapt small.safetensors --data pairs.csv --opposite 0.5 -o both-ways.safetensors
    dcc adapt runs/tiny/last.safetensors --data pairs.csv --strength 0.2 -o adapted.safetensors

    dcc init --preset small writes a network that matches without training. The network learns from its own
    matches that agree among themselves, in a few minutes on two CPU cores. Things that face the same way
    then match better, those that face opposite ways worse, unless --opposite is given or they are matched
    with --mirror auto (docs/adaptation.md has measurements). Compare both with dcc eval on pairs with
    keypoints, if you have any.
    """
    require_torch()
    from dccnet.network.conv4d import TRAINING_LOWERINGS
    from dccnet.runtime.console import note, progress_bar
    from dccnet.runtime.errors import UsageError
    from dccnet.training.adaptation.adapt import adapt
    from dccnet.training.autotune import usual_lowering
    from dccnet.training.cpu import fast_cpu_settings
    from dccnet.training.datasets import datasets
    from dccnet.training.settings import TrainSettings
    from dccnet.weights.checkpoint import load_checkpoint, save_checkpoint

    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UsageError(f"{output} cannot be written: name a file in a folder that exists")
    network = load_checkpoint(model)
    network.lower(TRAINING_LOWERINGS[usual_lowering(network)])
    lists = TrainSettings(data=data, root=root, skip_unreadable=skip_unreadable)
    pairs = datasets(network.config, lists).training
    settings = AdaptSettings(memory=int(memory * 1e9), **options)
    with fast_cpu_settings(), progress_bar("{task.fields[loss]}") as bar:
        task = bar.add_task("", total=None, loss="")

        def on_start(description: str, total: int) -> None:
            bar.reset(task, description=description, total=total, loss="")
            if not bar.console.is_terminal:
                note(f"{description} ({total} steps)")

        def on_step(loss: float | None) -> None:
            bar.update(task, advance=1, loss="" if loss is None else f"loss {loss:.3g}")

        result = adapt(network, pairs, settings, on_start, on_step)
    save_checkpoint(result.model, output)
    if as_json:
        numbers = {name: value for name, value in result._asdict().items() if name != "model"}
        click.echo(json.dumps({"output": str(output), "listed": len(pairs), **numbers}))
    else:
        click.echo(output)
    note(
        f"learnt from {result.pairs} of {len(pairs)} pairs, {result.opposite} of which face opposite ways; "
        f"{100 * result.trusted:.0f} % of their matches were trusted"
    )
    note(
        f"next: dcc eval {output} --benchmark pairs --data LIST, where LIST has keypoints, or "
        f"dcc export {output} -o BUNDLE"
    )
