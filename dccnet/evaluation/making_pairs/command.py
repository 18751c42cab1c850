"""``dcc data pairs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dccnet.runtime.option_types import Number, Whole

if TYPE_CHECKING:
    from dccnet.evaluation.making_pairs.photographs import Found

PLACE = click.Path(path_type=Path)


@click.command(short_help="Make lists of pairs from your own pictures.")
@click.argument("source", metavar="DIR|FILE", type=PLACE)
@click.option(
    "-o", "--output", required=True, metavar="LIST", type=PLACE, help="List to write, a .csv file."
)
@click.option(
    "--root",
    metavar="DIR",
    type=PLACE,
    help="Folder that the names in FILE are relative to.  [default: that of FILE]",
)
@click.option(
    "--split",
    type=Number(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Share of each class's pictures for LIST; the others make a second list, LIST-rest.csv.",
)
@click.option(
    "--rest", metavar="LIST", type=PLACE, help="Where to write the second list.  [default: LIST-rest.csv]"
)
@click.option(
    "--without",
    metavar="LIST",
    type=PLACE,
    help="Leave out the pictures in this list, and copies of them: those that you test on.",
)
@click.option(
    "--per-class",
    type=Whole(1),
    default=200,
    show_default=True,
    help="Most pairs of each class in a list; fewer where it has few pictures.",
)
@click.option("--flip", is_flag=True, help="Every pair again with both pictures mirrored; not in the rest.")
@click.option(
    "--seed",
    type=Whole(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Of the split and of the choice: the same seed makes the same lists.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def pairs(
    source: Path,
    output: Path,
    root: Path | None,
    split: float | None,
    rest: Path | None,
    without: Path | None,
    per_class: int,
    flip: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Make a list of pairs for training or evaluation from pictures that you have.

    \b
    dcc data pairs photos -o train.csv --split 0.8
    dcc data pairs keypoints.json --root photos -o train.csv --split 0.8 --rest test.csv
    dcc data pairs photos -o train.csv --without test.csv
    dcc data pairs SPair-71k -o train.csv --per-class 500

    DIR has a folder for each class, with its pictures, or SPair-71k's layout (JPEGImages and
    ImageAnnotation). FILE has keypoints of a class: COCO, or another format that dcc propagate reads. With
    keypoints, lists have those that both pictures of a pair have; pictures with several annotated things
    are left out. No picture is in both lists, and copies of a file count as one.
    """
    from dccnet.evaluation.making_pairs.choosing import choose_pairs, split_photographs
    from dccnet.evaluation.making_pairs.photographs import find_photographs, leave_out
    from dccnet.evaluation.making_pairs.writing import summary, write_pairs
    from dccnet.runtime.errors import UsageError

    paths = _lists([source] if without is None else [source, without], output, split, rest)
    if root is not None and source.is_dir():
        raise UsageError("--root goes with a file of annotations: remove it, or name the file")
    found = find_photographs(source, root)
    if without is not None:
        found = leave_out(found, without)
    if flip and found.annotated:
        raise UsageError("--flip takes pictures without keypoints: in a mirror, left is not right")
    sides = [found.photographs]
    if split is not None:
        sides = list(split_photographs(found.photographs, split, seed))
    chosen = [choose_pairs(side, per_class, seed, found.annotated) for side in sides]
    for side, path in zip(chosen, paths, strict=True):
        if not side:
            raise _no_pair(path, found.annotated, split is not None)
    made: dict[str, Any] = {}
    for number, (side, path) in enumerate(zip(chosen, paths, strict=True)):
        write_pairs(path, side, found.annotated, flip and number == 0)
        made[str(path)] = summary(side)
    if as_json:
        click.echo(json.dumps({"lists": made, "left_out": found.left_out}, indent=2))
    else:
        _print(made)
    _tell(found, made, paths)


def _tell(found: Found, made: dict[str, Any], paths: list[Path]) -> None:
    """What was left out, and what to do with the lists."""
    from dccnet.runtime.console import note

    for reason, count in found.left_out.items():
        note(f"left out: {count} pictures, {reason}")
    used = {category for counts in made.values() for category in counts["classes"]}
    unused = sorted({one.category for one in found.photographs} - used)
    if unused:
        note(f"without any pair: {', '.join(unused)}")
    train, *rest = paths
    validate = "".join(f" --validate {path}" for path in rest if found.annotated)
    note(f"next: dcc train --preset tiny --data {train}{validate} -o runs/mine")
    for path in rest if not found.annotated else ():
        note(f"{path} has no keypoints to score by: dcc data warps {path} -o warped makes pairs that have")


def _lists(inputs: list[Path], output: Path, split: float | None, rest: Path | None) -> list[Path]:
    """The lists to write. Raises a ``UsageError`` for names that cannot be."""
    from dccnet.runtime.errors import UsageError

    if split is None and rest is not None:
        raise UsageError("--rest names the second list of a --split: give both")
    paths = [output]
    if split is not None:
        paths.append(rest or output.with_name(f"{output.stem}-rest{output.suffix}"))
    for path in paths:
        if path.suffix.lower() != ".csv":
            raise UsageError(f"a list is a .csv file, not '{path.name}'")
        if path.resolve() in {one.resolve() for one in inputs}:
            raise UsageError(f"the list {path} is also an input: choose another name")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("both lists are one file: choose another with --rest")
    return paths


def _no_pair(path: Path, annotated: bool, split: bool) -> Exception:
    from dccnet.runtime.errors import DataError

    needed = "four pictures, two for each list" if split else "two pictures"
    what = ", with two keypoints of the same names" if annotated else ""
    return DataError(f"there is no pair for {path}: a class needs {needed}{what}")


def _print(made: dict[str, Any]) -> None:
    for name, counts in made.items():
        click.echo(f"{name}: {counts['pairs']} pairs of {counts['pictures']} pictures")
        click.echo("  " + ", ".join(f"{category} {n}" for category, n in counts["classes"].items()))
