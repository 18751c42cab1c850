"""What commands that match one pair of pictures have in common: their options, and the match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dccnet.runtime.models.option import choose_model, model_option
from dccnet.runtime.option_types import (
    Function,
    Number,
    backend_option,
    device_option,
    refine_option,
    ways_options,
)

if TYPE_CHECKING:
    from dccnet.runtime.arrays import Image
    from dccnet.runtime.correspondences import Correspondences
    from dccnet.runtime.views.choices import Mirror

MODEL, MACHINE = "--model --refine --mirror --views --min-confidence", "--backend --device"
"""The options of :func:`pair_options`, as groups of ``--help``."""


@dataclass(frozen=True, slots=True)
class PairOptions:
    """The values of :func:`pair_options`."""

    arguments: tuple[str, ...]
    model: str | None
    backend: str
    device: str
    refine: bool | None
    mirror: Mirror
    views: int
    min_confidence: float | None


@dataclass(frozen=True, slots=True, eq=False)
class MatchedPair:
    """Two pictures and their matches."""

    image_a: Image
    image_b: Image
    result: Correspondences


def pair_options(function: Function) -> Function:
    """Add the arguments ``[BUNDLE] A B`` and the options of :class:`PairOptions` to a command."""
    for decorate in reversed(
        [
            click.argument("arguments", nargs=-1, metavar="[BUNDLE] A B"),
            model_option,
            click.option(
                "--min-confidence",
                type=Number(0, 1),
                metavar="P",
                help="Matches of less confidence, from 0 to 1, do not count.  [default: the less confident "
                "a match, the less it counts]",
            ),
            refine_option,
            ways_options,
            backend_option,
            device_option,
        ]
    ):
        function = decorate(function)
    return function


def match_pair(options: PairOptions, outputs: Sequence[Path]) -> MatchedPair:
    """Read and match the pair. Raises :class:`DccError`, also where an output is one of its pictures."""
    from dccnet.runtime.commands.pictures import refuse_to_overwrite
    from dccnet.runtime.console import note
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.images import read_image
    from dccnet.runtime.matcher import Matcher
    from dccnet.runtime.mirroring import MIRRORED

    chosen, images = choose_model(options.model, options.arguments)
    if len(images) != 2:
        raise UsageError("name two pictures, A and B")
    refuse_to_overwrite([Path(image) for image in images], outputs)
    image_a, image_b = map(read_image, images)
    bundle = chosen.open()
    if chosen.by_default:
        note(chosen.note)
    matcher = Matcher.open(
        bundle,
        backend=options.backend,
        device=options.device,
        refine=options.refine,
        mirror=options.mirror,
        views=options.views,
        on_note=note,
    )
    if options.min_confidence is not None:
        matcher.require_confidence()
    chosen.warn_unless_verified(matcher.manifest)
    result = matcher.match(image_a, image_b)
    if result.mirrored:
        note(MIRRORED)
    if options.min_confidence is not None:
        result = result.at_least(options.min_confidence)
    return MatchedPair(image_a, image_b, result)
