"""The options of ``dcc train`` that become fields of its settings; imports nothing but click.

Where a preset has a recipe of its own (``recipes.py``), its values stand for what is not given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from dccnet.training.recipes import RECIPES

Function = TypeVar("Function", bound=Callable[..., Any])
POSITIVE = click.FloatRange(0, min_open=True)


def by_preset(flag: str, default: object, **attributes: Any) -> Callable[[Function], Function]:
    """An option that presets may have their own value for, and whose ``--help`` says so."""
    name = flag.removeprefix("--").replace("-", "_")
    own = [f"{preset} {recipe[name]}" for preset, recipe in RECIPES.items() if name in recipe]
    shown = "; ".join([str(default), *own]) if own else True
    return click.option(flag, default=default, show_default=shown, **attributes)


_DATA = [
    click.option("--data", metavar="LIST", help="CSV list of pairs to train on (docs/training.md)."),
    click.option("--synthetic", metavar="DIR", help="Train on warped views of the photographs in DIR."),
    click.option("--validate", metavar="LIST", help="CSV list of pairs with keypoints to validate on."),
    click.option("--root", metavar="DIR", help="Folder of the lists' pictures.  [default: the list's own]"),
    click.option("--one-based", is_flag=True, help="Keypoints count from 1, as in PF-PASCAL's lists."),
    click.option(
        "--protocol",
        type=click.Choice(["bbox", "scnet", "img"]),
        default="bbox",
        show_default=True,
        help="What the validation's PCK threshold is relative to.",
    ),
    click.option("--alpha", type=POSITIVE, default=0.1, show_default=True, help="PCK threshold."),
    click.option(
        "--pairs",
        type=click.IntRange(2),
        default=400,
        show_default=True,
        help="Synthetic pairs in an epoch.",
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
    by_preset("--epochs", 5, type=click.IntRange(1)),
    click.option(
        "--batch-size", type=click.IntRange(2), default=16, show_default=True, help="Pairs of a step."
    ),
    by_preset("--learning-rate", 5e-4, type=POSITIVE, help="Of Adam."),
    by_preset(
        "--start",
        "random",
        type=click.Choice(["random", "plain"]),
        help="Weights begin at random, as the authors', or as what works untrained (docs/training.md).",
    ),
    by_preset(
        "--context-rate",
        1.0,
        type=click.FloatRange(0),
        help="Share of the learning rate for the context encoder.",
    ),
    by_preset(
        "--schedule",
        "constant",
        type=click.Choice(["constant", "cosine"]),
        help="Of the learning rate; cosine goes down to nothing.",
    ),
    click.option(
        "--patience", type=click.IntRange(1), help="Stop after so many epochs without a better PCK."
    ),
    by_preset(
        "--negatives",
        "random",
        type=click.Choice(["random", "apart"]),
        help="Negatives are neighbours in a batch: random ones as in the paper, or of other categories.",
    ),
    by_preset(
        "--opposite",
        0.0,
        type=click.FloatRange(0, 1),
        help="Share of pairs, and of warped views, with one side mirrored: things that face opposite ways.",
    ),
    by_preset(
        "--warps",
        0.0,
        type=click.FloatRange(0),
        help="Weight of a supervised loss between pictures and warped views of them.",
    ),
    click.option(
        "--supervised",
        type=click.FloatRange(0),
        default=0.0,
        show_default=True,
        help="Weight of a supervised loss on the list's keypoints.",
    ),
    by_preset(
        "--average",
        0.0,
        type=click.FloatRange(0, 1, max_open=True),
        help="Validate and save a running mean of the weights, with this weight on the past.",
    ),
    by_preset(
        "--finetune-blocks",
        0,
        type=click.IntRange(0),
        metavar="N",
        help="Train the last N blocks of the backbone, too.",
    ),
]
_MACHINE = [
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="bf16 keeps weights and the steps that need it in float32.",
    ),
    click.option(
        "--micro-batch",
        type=click.IntRange(1),
        metavar="PAIRS",
        help="Compute a batch in parts of so many pairs: the same gradient in less memory.",
    ),
    click.option(
        "--checkpointing",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        show_default=True,
        help="Recompute the 4D layers in the backward pass: less memory for more time.",
    ),
    click.option(
        "--conv4d",
        type=click.Choice(["stack", "paired", "spectral", "spectral3", "auto"]),
        help="How the 4D convolutions are computed (docs/conv4d.md); auto tries all, keeps the fastest.  "
        "[default: what has been fastest for kernels and volumes of such sizes]",
    ),
    click.option(
        "--feature-cache",
        metavar="DIR",
        help="Keep features of the frozen backbone on disk, for all epochs and later runs.",
    ),
    click.option(
        "--cache-gb",
        type=click.FloatRange(0),
        default=4.0,
        show_default=True,
        help="Memory for features of the backbone.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        default=2,
        show_default=True,
        help="Threads that read and resize pictures.",
    ),
    click.option(
        "--save-every",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        metavar="STEPS",
        help="Save the state within an epoch, too.",
    ),
]  # fmt: skip


def training_options(function: Function) -> Function:
    """All of them, in the order of ``--help``."""
    for option in reversed(_DATA + _RECIPE + _MACHINE):
        function = option(function)
    return function
