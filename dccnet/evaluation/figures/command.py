"""``dcc figure``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dccnet.evaluation.machine_options import MACHINE, machine_options
from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import Number, Whole

GROUPS = {
    "Input": "--benchmark --data --root --split --one-based --protocol --pairs",
    "Figure": "--output --style --names --alpha --point --width",
    "Machine": MACHINE,
}
PLACE = click.Path(path_type=Path)


@click.command("figure", cls=GroupedCommand, groups=GROUPS)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=PLACE)
@click.option(
    "--benchmark",
    type=click.Choice(["pf-pascal", "pf-willow", "tss", "spair", "pairs"]),
    default="pairs",
    show_default=True,
    help="Benchmark of the pairs; pairs is any list in PF-PASCAL's format.",
)
@click.option(
    "--data",
    metavar="DIR|LIST",
    type=PLACE,
    help="Its folder, or list of pairs.  [default: that of a folder of results]",
)
@click.option("--root", metavar="DIR", type=PLACE, help="Folder that the list's paths start from.")
@click.option("--split", type=click.Choice(["test", "val", "trn"]), help="Split of SPair-71k.")
@click.option("--one-based/--zero-based", default=None, help="Coordinates of a list start at 1 or 0.")
@click.option(
    "--protocol",
    type=click.Choice(["bbox", "scnet", "img"]),
    help="What --alpha is relative to, in a list.",
)
@click.option("--pairs", "numbers", required=True, metavar="N,N...", help="Pairs of the list, from 1.")
@click.option(
    "-o", "--output", required=True, metavar="FILE", type=PLACE, help="A .pdf, .svg or .png file to write."
)
@click.option(
    "--style",
    type=click.Choice(["keypoints", "scores", "warp", "flow"]),
    default="keypoints",
    show_default=True,
    help="What is shown (see above).",
)
@click.option("--names", metavar="A,B...", help="Names of the models.  [default: those of their files]")
@click.option(
    "--alpha", type=Number(0, min_open=True), default=0.1, show_default=True, help="Threshold of hits."
)
@click.option(
    "--point", type=Whole(1), default=1, show_default=True, help="Keypoint whose scores are shown, from 1."
)
@click.option(
    "--width", type=Number(1, 40), default=6.9, show_default=True, help="Width of the figure in inches."
)
@machine_options
def figure_command(
    models: tuple[Path, ...],
    benchmark: str,
    data: Path | None,
    root: Path | None,
    split: str | None,
    one_based: bool | None,
    protocol: Any,
    numbers: str,
    output: Path,
    style: Any,
    names: str | None,
    alpha: float,
    point: int,
    width: float,
    **choice: Any,
) -> None:
    """Draw what MODELs find in pairs of a list, as a figure for a paper.

    \b
    dcc figure ncnet.safetensors dccnet.safetensors --data test.csv --pairs 3,17,40 -o fig5.pdf
    dcc figure ncnet.safetensors dccnet.safetensors --data test.csv --pairs 3 --style scores -o f.pdf
    dcc figure bundle --data test.csv --pairs 3,17 --style warp --names DCCNet -o fig6.pdf
    dcc figure sweep --pairs 3,17,40 -o fig5.pdf

    \b
    keypoints  a row for each pair, a column for each model: predictions as dots, truth as squares,
               the error as a line (the paper's Figure 5)
    scores     a row for each pair and model: a point, its match, and the map of its scores (Figure 1)
    warp       source, target, and the source in the shape of the target (Figure 6)
    flow       the flow from the target to the source, in Middlebury's colours (Figure 7)

    A MODEL is what dcc eval takes, or a folder that dcc eval -o or dcc ablate wrote, which stands for its
    models and names their list. Pairs have the numbers of the list's rows, as in the files of dcc eval.
    """
    from dccnet.evaluation.figures.drawing import check_output, write_figure
    from dccnet.evaluation.figures.inputs import find_inputs
    from dccnet.evaluation.figures.panels import Row, headings, rows
    from dccnet.evaluation.models import open_model
    from dccnet.evaluation.options import parse_names
    from dccnet.evaluation.scored_list import ScoredList
    from dccnet.runtime.commands.pictures import refuse_to_overwrite
    from dccnet.runtime.console import note
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.selection import BackendChoice

    check_output(output)
    given = None
    if data is not None:
        places = str(data), None if root is None else str(root)
        given = ScoredList(benchmark, *places, protocol, one_based, split)
    elif any(option is not None for option in (root, split, one_based, protocol)) or benchmark != "pairs":
        raise UsageError("options of a list go with --data, which names it")
    inputs = find_inputs(models, given)
    titles = inputs.names if names is None else parse_names(names)
    if len(titles) != len(inputs.models):
        raise UsageError(f"--names has {len(titles)} names: give {len(inputs.models)}, one for each model")
    if names is not None:
        for title, model in zip(titles, inputs.models, strict=True):
            note(f"{title}: {model}")
    loaded = inputs.listed.load()
    cases = [loaded.cases[number - 1] for number in _numbers(numbers, len(loaded.cases))]
    pictures_of_pairs = [picture.file for case in cases for picture in (case.pair.source, case.pair.target)]
    refuse_to_overwrite([Path(inputs.listed.data), *filter(None, pictures_of_pairs)], [output])
    opened = [
        open_model(path, BackendChoice(**choice), note, heatmaps=style == "scores")
        for path in inputs.models
    ]
    drawn: list[Row] = []
    for case in cases:
        pictures = case.pair.source.load(), case.pair.target.load()
        results = [
            (title, model.match(*map(model.encode, pictures)))
            for title, model in zip(titles, opened, strict=True)
        ]
        drawn += rows(style, loaded, case, results, alpha, point)
    heads = headings(style, titles, with_truth=cases[0].truth is not None)
    write_figure(output, heads, drawn, width, wheel=style == "flow")
    note(f"wrote {output}")


def _numbers(text: str, most: int) -> list[int]:
    from dccnet.runtime.errors import UsageError

    try:
        found = [int(part) for part in text.split(",")]
        if not all(1 <= number <= most for number in found):
            raise ValueError
    except ValueError:
        raise UsageError(f"--pairs takes numbers from 1 to {most} between commas, not '{text}'") from None
    return found
