"""``dcc train``, ``dcc init`` and ``dcc import``."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import Whole
from dccnet.training.options import GROUPS, PATHS, by_preset, training_options

if TYPE_CHECKING:
    from dccnet.network.config import ModelConfig
    from dccnet.network.model import DCCNet
    from dccnet.training.settings import RunFolder
    from dccnet.training.state import Progress

PRESETS = (
    "dccnet",
    "ncnet",
    "baseline-s",
    "baseline-sca",
    "baseline-saa",
    "baseline-sd",
    "tiny",
    "small",
    "medium",
)

preset_option = click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default="dccnet",
    show_default=True,
    help="Network architecture and training recipe.",
)
set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the preset, such as backbone=resnet50 or image_size=[320,320]; repeatable.",
)
seed_option = click.option(
    "--seed",
    type=Whole(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Seed of all random numbers.",
)


_TRAIN_GROUPS = {
    "Model": "--preset --set --from",
    **GROUPS,
    "Recipe": f"{GROUPS['Recipe']} --seed",
    "Machine": f"{GROUPS['Machine']} --nproc",
    "Output": f"--output --resume {GROUPS['Output']} --json",
}


@click.command(cls=GroupedCommand, groups=_TRAIN_GROUPS)
@preset_option
@set_option
@click.option(
    "--from",
    "from_checkpoint",
    metavar="MODEL",
    help="Train this network on (.safetensors) with its own sizes and weights, such as a published or an "
    "imported one; --preset then chooses the recipe alone.",
)
@training_options
@seed_option
@click.option(
    "--nproc",
    type=Whole(1),
    default=1,
    show_default=True,
    help="Processes on this machine, one per GPU if there are GPUs. For several machines use torchrun.",
)
@click.option("-o", "--output", metavar="DIR", help="Folder of the run.")
@click.option(
    "--resume",
    metavar="DIR",
    help="Continue the run in DIR with its own settings; --data, --root and the like name what moved.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def train(
    ctx: click.Context,
    /,
    preset: str,
    changes: tuple[str, ...],
    nproc: int,
    output: str | None,
    resume: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Train a network by weak supervision: pairs of one category, no keypoints needed.

    \b
    dcc train --preset tiny --data pairs.csv --validate test.csv -o runs/tiny
    dcc train --preset tiny --synthetic photos/ -o runs/warps
    dcc train --preset dccnet --data pairs.csv --nproc 4 -o runs/paper
    dcc train --from dccnet.safetensors --data pairs.csv --learning-rate 1e-4 -o runs/tuned
    dcc train --resume runs/tiny

    The run's folder contains best.safetensors, last.safetensors, the state to resume from, the
    configuration, a log and, unless --log names others, TensorBoard events.
    """
    from dccnet.runtime.errors import UsageError

    if (output is None) == (resume is None):
        raise UsageError("give either -o FOLDER for a new run, or --resume FOLDER to continue one")
    given = {name: value for name, value in options.items() if was_given(ctx, name)}
    kept = given.keys() - {"epochs", "device", "log", *PATHS}
    if resume is not None and (kept or was_given(ctx, "preset", "changes")):
        raise UsageError(
            "--resume uses the settings of the run; only --epochs, --device, --log and the places of lists "
            f"and pictures (--{', --'.join(PATHS).replace('_', '-')}) can be changed"
        )
    require_torch()
    from dccnet.training.cpu import fast_cpu_settings
    from dccnet.training.processes import is_first, joins_others, leave
    from dccnet.training.recipes import recipe
    from dccnet.training.run import check_free, check_run, resume_run, start_run
    from dccnet.weights.checkpoint import load_checkpoint

    start_from: str | None = options["from_checkpoint"]
    if start_from is not None and was_given(ctx, "changes", "start", "weights"):
        raise UsageError("--from has the network and all its weights: remove --set, --start and --weights")
    config = network_config(preset, changes) if start_from is None else load_checkpoint(start_from).config
    settings = options | recipe(preset) | given
    if nproc > 1 and not joins_others():
        from dccnet.training.launch import launch

        if output is not None:  # report an error once, not once per process
            check_run(output, config, settings)
        else:
            assert resume is not None
            check_free(resume)
        return launch(nproc, sys.argv[1:])
    with fast_cpu_settings():
        if resume is not None:
            moved = {name: given[name] for name in PATHS if name in given}
            folder, progress = resume_run(
                resume, given.get("epochs"), given.get("device"), moved, given.get("log")
            )
        else:
            assert output is not None
            folder, progress = start_run(output, config, settings)
    if is_first():
        _report(folder, progress, as_json=as_json)
    leave()
    return 0


def _report(folder: RunFolder, progress: Progress, *, as_json: bool) -> None:
    from dccnet.runtime.console import note, warn

    result = {"best": str(folder.best), "last": str(folder.last), **dataclasses.asdict(progress)}
    if progress.best_pck == float("-inf"):  # JSON has no infinity
        result["best_pck"] = None
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(folder.best)
    untrained = progress.epoch > 0 and progress.stale_epochs >= progress.validated_epochs > 0
    if untrained:
        warn(
            f"no epoch was better in validation than the network before training, which {folder.best} is: "
            f"{folder.last} is the trained one"
        )
    note(f"next: dcc export {folder.last if untrained else folder.best} -o BUNDLE")


def was_given(ctx: click.Context, *names: str) -> bool:
    """Whether any of these parameters was given on the command line."""
    return any(ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE for name in names)


@click.command()
@preset_option
@set_option
@by_preset(
    "--start",
    "random",
    type=click.Choice(["random", "plain"]),
    help="Weights after the backbone: random, as the authors', or plain, which already match without "
    "training.",
)
@click.option(
    "--weights",
    metavar="imagenet|random|FILE",
    help="Weights of the backbone.  [default: imagenet with --start plain, else random]",
)
@seed_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write.")
@click.pass_context
def init(
    ctx: click.Context,
    /,
    preset: str,
    changes: tuple[str, ...],
    start: str,
    weights: str | None,
    seed: int,
    output: Path,
) -> None:
    """Write an untrained network.

    \b
    dcc init --preset small -o small.safetensors
    dcc init --preset dccnet -o untrained.safetensors

    With --start plain, the network already matches, without training. With --start random, its matches are
    meaningless: use it for timing, for trying an export, and as a baseline. The preset's recipe decides
    whether 4D kernels also count things that face opposite ways (docs/tiny.md), as in dcc train.
    """
    from dccnet.runtime.console import note

    require_torch()
    from dccnet.training.initial import initial_network
    from dccnet.training.recipes import recipe
    from dccnet.weights.checkpoint import save_checkpoint
    from dccnet.weights.pretrained import IMAGENET, RANDOM

    config, defaults = network_config(preset, changes), recipe(preset)
    if not was_given(ctx, "start"):
        start = defaults.get("start", start)
    weights = weights or (IMAGENET if start == "plain" else RANDOM)
    model = initial_network(config, weights, start, defaults.get("opposite", 0.0) > 0, seed)
    save_checkpoint(model, output)
    click.echo(output)
    note(f"{start} start, {weights} backbone; {_summary(model)}")


@click.command("import")
@click.argument("official", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write.")
def import_(official: Path, output: Path) -> None:
    """Convert the authors' DCCNet or NC-Net checkpoint OFFICIAL (.pth.tar) to .safetensors.

    The pickle is read without executing any code in it. Every tensor must have the expected name and shape.
    """
    from dccnet.runtime.console import note

    require_torch()
    from dccnet.weights.checkpoint import save_checkpoint
    from dccnet.weights.official import import_official

    model = import_official(official)
    save_checkpoint(model, output)
    click.echo(output)
    note(f"{len(model.state_dict())} tensors; {_summary(model)}")
    note(f"next: dcc export {output} -o BUNDLE")


def _summary(model: DCCNet) -> str:
    from dccnet.weights.checkpoint import parameters

    config = model.config
    height, width = config.image_size
    return (
        f"{config.backbone} at {height}x{width}, branches {' and '.join(config.branches)}, "
        f"4D kernels {config.consensus_kernels}, {parameters(model) / 1e6:.1f} M weights"
    )


def network_config(preset: str, changes: tuple[str, ...]) -> ModelConfig:
    """The preset with ``FIELD=VALUE`` changes, values in JSON. Raises :class:`UsageError`."""
    from dccnet.network import config as configs
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.reading import parse_json

    config = configs.PRESETS[preset]
    fields = {field.name for field in dataclasses.fields(config)}
    values = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in fields:
            raise UsageError(f"--set takes FIELD=VALUE, where FIELD is one of {', '.join(sorted(fields))}")
        try:
            values[name] = parse_json(text)
        except ValueError:
            values[name] = text  # a string without quotes, such as a backbone's name
    try:
        return configs.ModelConfig.from_json(json.dumps(json.loads(config.to_json()) | values))
    except ValueError as error:
        raise UsageError(str(error)) from error


def require_torch() -> None:
    """Raise :class:`DccError` if PyTorch or safetensors is not installed."""
    from dccnet.runtime.extras import required

    with required("this command", "train"):
        import safetensors
        import torch

        del safetensors, torch
