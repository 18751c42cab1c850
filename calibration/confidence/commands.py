"""``dcc confidence``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dccnet.runtime.option_types import Number, threads_option

if TYPE_CHECKING:
    from dccnet.evaluation.pairs import Pair
    from dccnet.runtime.geometry import Size

WARPED_PAIRS = 200
SEED = 1


@click.command("confidence")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--pairs",
    "lists",
    multiple=True,
    metavar="LIST",
    type=click.Path(path_type=Path, dir_okay=False),
    help="List of pairs with keypoints in PF-PASCAL's format; repeatable.",
)
@click.option(
    "--warps",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Instead of --pairs: pictures, of which pairs with known truth are made by random warps. They are "
    "easier than pairs of different things, so that confidence becomes too high for these.",
)
@click.option(
    "--mirrored",
    is_flag=True,
    help="Add every pair with its source mirrored, so that things also face opposite ways. Only for "
    "keypoints that are not called left or right.",
)
@click.option(
    "--unrelated/--no-unrelated",
    default=True,
    show_default=True,
    help="Add every source with a target of another class of its list, which show nothing alike: no match "
    "is right.",
)
@click.option("--one-based", is_flag=True, help="Coordinates in the lists start at 1.")
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that the lists' paths start from.  [default: each list's own]",
)
@click.option(
    "--within",
    type=Number(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="A match is right if it lies so close to its true place, as a share of the longer side of the "
    "picture that it lies in.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Bundle to write (a folder); BUNDLE itself is replaced.",
)
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print what was fitted as JSON.")
def confidence_command(
    bundle: Path,
    lists: tuple[Path, ...],
    warps: Path | None,
    mirrored: bool,
    unrelated: bool,
    one_based: bool,
    root: Path | None,
    within: float,
    output: Path,
    threads: int,
    as_json: bool,
) -> None:
    """Fit how much matches of BUNDLE can be trusted, and write a bundle that says so for each.

    \b
    dcc confidence bundle --pairs pairs.csv --mirrored -o bundle
    dcc confidence bundle --warps pictures -o bundle-confident
    dcc eval bundle --benchmark pairs --data other.csv --reliability diagram.png

    BUNDLE is a folder or a name of dcc models. Its graphs stay as they are: four numbers are added to its
    manifest, by which dcc match computes a confidence from 0 to 1 for every match. Judge it with dcc eval
    on pairs that it was not fitted to (docs/confidence.md).
    """
    from dccnet.calibration.confidence.fit import fit_confidence
    from dccnet.calibration.confidence.samples import collect_samples, unrelated_pairs
    from dccnet.calibration.confidence.write import write_with_confidence
    from dccnet.export.bundles.folder import check_replaceable
    from dccnet.runtime.console import note, progress_bar, warn
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.extras import required
    from dccnet.runtime.matcher import Matcher
    from dccnet.runtime.models.names import open_bundle

    if bool(lists) == (warps is not None):
        raise UsageError("name pairs whose truth is known, with either --pairs or --warps")
    with required("fitting confidence", "calibrate"):
        import scipy

        del scipy
    opened = open_bundle(bundle, note)
    check_replaceable(output)
    as_they_are = _pairs(lists, warps, one_based, root, opened.manifest.image_size)
    pairs = [*as_they_are, *(_facing_opposite(as_they_are) if mirrored else [])]
    others = unrelated_pairs(as_they_are, SEED) if unrelated else []
    with Matcher.open(opened, threads=threads, on_note=note) as matcher, progress_bar() as progress:
        task = progress.add_task("matching", total=sum(map(len, pairs)) + len(others))
        samples = collect_samples(matcher, pairs, lambda: progress.advance(task), others)
    paths = lists if warps is None else (warps,)
    names = tuple(f"{path.resolve().parent.name}/{path.name}" for path in paths)
    truth = "warps" if warps is not None else "keypoints"
    kinds = (", mirrored too" if mirrored else "") + (", and of two classes" if others else "")
    fitted = fit_confidence(samples, within, truth, tuple(name + kinds for name in names))
    written = write_with_confidence(opened, fitted, output)
    quality = fitted.quality
    note(
        f"{fitted.meaning}; by cross-validation over {quality.groups} groups of {fitted.points} matches: "
        f"AUROC {quality.auroc:.3f}, calibration error {quality.calibration_error:.3f}"
    )
    click.echo(json.dumps(dataclasses.asdict(fitted), indent=2) if as_json else written.path)
    if unrelated and not others:
        warn(
            "all pairs are of one class, so that none of pictures that show nothing alike could be made: "
            "confidence is too high for those"
        )
    note(f"next: dcc match --model {output} --min-confidence 0.5 A.jpg B.jpg")


def _pairs(
    lists: tuple[Path, ...],
    warps: Path | None,
    one_based: bool,
    root: Path | None,
    size: Size,
) -> list[list[Pair]]:
    """The pairs of each list."""
    from dccnet.evaluation.pairs import read_pairs
    from dccnet.runtime.images import find_images
    from dccnet.training.synthetic import synthetic_pairs

    if warps is not None:
        return [synthetic_pairs(find_images(warps), WARPED_PAIRS, SEED, size)]
    return [read_pairs(path, root, one_based=one_based) for path in lists]


def _facing_opposite(lists: list[list[Pair]]) -> list[list[Pair]]:
    from dccnet.evaluation.pairs import facing_opposite

    return [[facing_opposite(pair) for pair in pairs] for pairs in lists]
