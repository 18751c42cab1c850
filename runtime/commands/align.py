"""``dcc align``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dccnet.runtime.commands.pair import MACHINE, MODEL, PairOptions, match_pair, pair_options
from dccnet.runtime.option_groups import GroupedCommand

_WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")

GROUPS = {"Model": MODEL, "Output": "--output --mask --outside --json", "Machine": MACHINE}


@click.command(cls=GroupedCommand, groups=GROUPS)
@pair_options
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="File to write, repeatable: the aligned picture (.png, .jpg, .webp, …), or the flow from every "
    "pixel of B to its place in A (.flo; .npy, an array (H, W, 2)).",
)
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    help="Picture to write of where matches are confident: white; black where they are not.",
)
@click.option(
    "--outside",
    type=click.Choice(["warped", "b", "transparent"]),
    default="warped",
    show_default=True,
    help="What the aligned picture shows where matches are not confident: A, warped, all the same; B; or "
    "nothing (.png, .webp, .tif).",
)
@click.option("--json", "as_json", is_flag=True, help="Print a description as JSON.")
def align(
    outputs: tuple[Path, ...], mask: Path | None, outside: Any, as_json: bool, **options: Any
) -> None:
    """Bring the picture A into the shape of the picture B.

    \b
    dcc align cat.jpg tiger.jpg -o aligned.png
    dcc align cat.jpg tiger.jpg -o aligned.png -o flow.flo --mask mask.png
    dcc align cat.jpg tiger.jpg -o cut.png --outside transparent

    Everything has the size of B. A is warped by a smooth map through the confident matches, which never
    folds. A model comes with dcc; --model or, as the first argument, BUNDLE names another one.
    """
    import json

    import numpy as np

    from dccnet.runtime.alignment.align import align as aligned
    from dccnet.runtime.alignment.outputs import check_outputs, write_flow
    from dccnet.runtime.console import note
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.images import SUFFIXES, write_image

    pictures = check_outputs(outputs, mask)
    if outside == "transparent" and any(path.suffix.lower() not in _WITH_ALPHA for path in pictures):
        raise UsageError(f"--outside transparent needs a picture in {', '.join(_WITH_ALPHA)}")
    files = [*outputs, *([] if mask is None else [mask])]
    pair = match_pair(PairOptions(**options), files)
    found = aligned(pair.result, pair.image_a, pair.image_b)
    for path in outputs:
        if path.suffix.lower() in SUFFIXES:
            write_image(path, found.picture(pair.image_b, outside))
        else:
            write_flow(path, found.flow)
    if mask is not None:
        write_image(mask, np.asarray(np.rint(found.mask * 255), np.uint8))
    for path in files:
        note(f"wrote {path}")
    height, width = found.mask.shape
    facts = {"files": [str(path) for path in files], "width": width, "height": height}
    share = round(float(found.mask.mean()), 4)
    if as_json:
        click.echo(json.dumps(facts | {"confident": share, "outside": outside}))
    else:
        click.echo(f"{share:.0%} of B lies where matches are confident")
