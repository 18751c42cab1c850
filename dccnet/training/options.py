"""The options of ``dcc train`` that are fields of its settings; imports nothing heavier than click.

A preset with its own recipe (``recipes.py``) replaces the defaults of options that are not given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dccnet.runtime.option_types import Function, Number, Whole
from dccnet.training.recipes import RECIPES

PATHS = ("data", "synthetic", "root", "validate", "feature_cache")
"""Options that are paths. ``--resume`` takes them again, for what has moved."""
LOGS = ("tensorboard", "wandb", "mlflow")
"""What ``--log`` may name: the keys of ``experiments/logs.py``."""
POSITIVE = Number(0, min_open=True)


def by_preset(flag: str, default: object, **attributes: Any) -> Callable[[Function], Function]:
    """An option whose default may differ for some presets; ``--help`` lists these values."""
    name = flag.removeprefix("--").replace("-", "_")
    by_name = [f"{preset} {recipe[name]}" for preset, recipe in RECIPES.items() if name in recipe]
    shown = "; ".join([str(default), *by_name]) if by_name else True
    return click.option(flag, default=default, show_default=shown, **attributes)


root_option = click.option(
    "--root",
    metavar="DIR",
    help="Folder that paths in the lists start from.  [default: the list's own]",
)
skip_unreadable_option = click.option(
    "--skip-unreadable",
    is_flag=True,
    help="Leave out pairs and photographs with pictures that cannot be read, and say how many.",
)

_DATA = [
    click.option("--data", metavar="LIST", help="CSV list of pairs to train on (docs/training.md)."),
    click.option("--synthetic", metavar="DIR", help="Train on warped views of the photographs in DIR."),
    click.option("--validate", metavar="LIST", help="CSV list of pairs with keypoints to validate on."),
    root_option,
    skip_unreadable_option,
    click.option(
        "--one-based", is_flag=True, help="Keypoint coordinates start at 1, as in PF-PASCAL's lists."
    ),
    by_preset(
        "--protocol",
        "bbox",
        type=click.Choice(["bbox", "scnet", "img"]),
        help="What the threshold of the validation PCK is relative to.",
    ),
    click.option(
        "--alpha", type=POSITIVE, default=0.1, show_default=True, help="Threshold of the validation PCK."
    ),
    click.option(
        "--pairs",
        type=Whole(2),
        default=400,
        show_default=True,
        help="Synthetic pairs per epoch.",
    ),
    click.option(
        "--weights",
        default="imagenet",
        show_default=True,
        metavar="imagenet|random|FILE",
        help="Weights of the backbone.",
    ),
]
_RECIPE = [
    by_preset("--epochs", 5, type=Whole(1), help="Passes over the training pairs."),
    click.option("--batch-size", type=Whole(2), default=16, show_default=True, help="Pairs per step."),
    by_preset("--learning-rate", 5e-4, type=POSITIVE, help="Learning rate of Adam."),
    by_preset(
        "--start",
        "random",
        type=click.Choice(["random", "plain"]),
        help="Initial weights: random, as the authors', or plain, which already match without training.",
    ),
    by_preset(
        "--context-rate",
        1.0,
        type=Number(0),
        help="Factor of the learning rate for the context encoder.",
    ),
    by_preset(
        "--schedule",
        "constant",
        type=click.Choice(["constant", "cosine"]),
        help="Learning rate schedule; cosine falls to zero.",
    ),
    click.option(
        "--count-start/--no-count-start",
        default=None,
        help="Let the network before training be the best one, too.  [default: with --from]",
    ),
    click.option(
        "--patience",
        type=Whole(1),
        help="Stop after this many epochs without a better validation PCK.",
    ),
    by_preset(
        "--negatives",
        "random",
        type=click.Choice(["random", "apart"]),
        help="Negative pairs, from neighbours in a batch: random, as in the paper, or of other categories.",
    ),
    by_preset(
        "--opposite",
        0.0,
        type=Number(0, 1),
        help="Share of pairs and warped views with one side mirrored, to learn to match such objects.",
    ),
    by_preset(
        "--warps",
        0.0,
        type=Number(0),
        help="Weight of a supervised loss between pictures and their warped views.",
    ),
    click.option(
        "--lambda",
        "lambda_local",
        type=Number(0),
        default=1.0,
        show_default=True,
        help="Weight of the local branch's own loss (Eq. 18), in networks with auxiliary losses.",
    ),
    click.option(
        "--gamma",
        "gamma_context",
        type=Number(0),
        default=1.0,
        show_default=True,
        help="Weight of the context branch's own loss.",
    ),
    click.option(
        "--supervised",
        type=Number(0),
        default=0.0,
        show_default=True,
        help="Weight of a supervised loss on the list's keypoints.",
    ),
    by_preset(
        "--average",
        0.0,
        type=Number(0, 1, max_open=True),
        help="Decay of a running mean of the weights, which is validated and saved; 0 disables it.",
    ),
    by_preset(
        "--finetune-blocks",
        0,
        type=Whole(0),
        metavar="N",
        help="Also train the last N blocks of the backbone.",
    ),
]
_MACHINE = [
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to train; auto takes a GPU if there is one.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="Precision; bf16 keeps weights and sensitive steps in float32.",
    ),
    click.option(
        "--tf32",
        is_flag=True,
        help="Let a GPU multiply float32 with ten bits of mantissa: faster, less exact.",
    ),
    click.option(
        "--micro-batch",
        type=Whole(1),
        metavar="PAIRS",
        help="Compute a batch in parts of this many pairs: the same gradient in less memory.",
    ),
    click.option(
        "--checkpointing",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        show_default=True,
        help="Recompute the 4D layers in the backward pass: less memory, more time.",
    ),
    click.option(
        "--conv4d",
        type=click.Choice(["stack", "paired", "complex", "spectral", "spectral3", "direct", "auto"]),
        help="How to compute the 4D convolutions (docs/conv4d.md); auto measures which is fastest.  "
        "[default: chosen by device and sizes]",
    ),
    click.option(
        "--feature-cache",
        metavar="DIR",
        help="Keep features of the frozen backbone on disk, for all epochs and for later runs.",
    ),
    click.option(
        "--cache-gb",
        type=Number(0),
        default=4.0,
        show_default=True,
        help="Memory for features of the backbone, in GB.",
    ),
    click.option(
        "--workers",
        type=Whole(1),
        default=2,
        show_default=True,
        help="Threads that read and resize pictures.",
    ),
    click.option(
        "--save-every",
        type=Whole(1),
        default=100,
        show_default=True,
        metavar="STEPS",
        help="Save the state every STEPS steps, besides after every epoch.",
    ),
]  # fmt: skip
_OUTPUT = [
    click.option(
        "--log",
        type=click.Choice(LOGS),
        multiple=True,
        default=("tensorboard",),
        show_default=True,
        help="Where to log the run: event files in its folder, Weights & Biases, or MLflow, as their own "
        "environment variables say (docs/training.md); repeatable.",
    ),
]


GROUPS = {
    "Input": "--data --synthetic --root --one-based --skip-unreadable --pairs",
    "Validation": "--validate --protocol --alpha --patience --count-start",
    "Recipe": (
        "--weights --start --epochs --batch-size --learning-rate --context-rate --schedule "
        "--negatives --opposite --warps --lambda --gamma --supervised --average --finetune-blocks"
    ),
    "Machine": (
        "--device --precision --tf32 --micro-batch --checkpointing --conv4d --feature-cache "
        "--cache-gb --workers --save-every"
    ),
    "Output": "--log",
}
"""All these options, as ``--help`` lists them."""


def training_options(function: Function) -> Function:
    """Add all these options to a command, in the order of ``--help``."""
    for option in reversed(_DATA + _RECIPE + _MACHINE + _OUTPUT):
        function = option(function)
    return function
