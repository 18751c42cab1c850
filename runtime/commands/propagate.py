"""``dcc propagate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2

from dccnet.runtime.annotations.files import SUFFIXES, format_of
from dccnet.runtime.annotations.model import OBJECT
from dccnet.runtime.commands.pictures import print_json, refuse_to_overwrite
from dccnet.runtime.commands.propagate_run import MODES, Run
from dccnet.runtime.confidence import VISIBLE
from dccnet.runtime.console import note, warn
from dccnet.runtime.cores import usable_cores
from dccnet.runtime.errors import ImageError, UsageError
from dccnet.runtime.files import sha256
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.option import choose_model, model_option
from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import (
    Number,
    Whole,
    backend_option,
    device_option,
    refine_option,
    threads_option,
    ways_options,
)
from dccnet.runtime.propagate.carrying import SEMANTIC, TEMPORAL
from dccnet.runtime.propagate.inputs import Drawn, Inputs, read_inputs
from dccnet.runtime.propagate.run import Job
from dccnet.runtime.propagate.targets import Targets, find_targets
from dccnet.runtime.selection import BackendChoice
from dccnet.runtime.video.propagation.settings import Propagation
from dccnet.runtime.views.choices import Mirror

GROUPS = {
    "Input": "--points --mask --box --category --pictures --use --corrections",
    "Model": "--model --refine --mirror --views --same-instance --references --min-confidence",
    "Output": "--output --format --review --save-masks --save-frames --overwrite --restart --json",
    "Machine": "--backend --device --threads",
}


@click.command("propagate", cls=GroupedCommand, groups=GROUPS)
@click.argument("arguments", nargs=-1, metavar="REFERENCE... PICTURES")
@model_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of annotations to write.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(SUFFIXES)),
    help="Its format.  [default: by the suffix: .json coco, .xml cvat, .slp sleap, .h5 dlc, .csv csv]",
)
@click.option(
    "--points",
    metavar='"X,Y;X,Y"|FILE',
    help="Points of a REFERENCE that is a picture, in pixels, or a file: .csv, .json.",
)
@click.option(
    "--mask", type=click.Path(path_type=Path), help="Its mask, as PNG; labels and palette are kept."
)
@click.option("--box", multiple=True, metavar='"X,Y,W,H"', help="Its box; repeatable.")
@click.option("--category", default=OBJECT, show_default=True, metavar="NAME", help="What it shows.")
@click.option(
    "--pictures",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the pictures that a file of annotations names, if they are elsewhere; repeatable.",
)
@click.option(
    "--use",
    multiple=True,
    metavar="GLOB",
    help="Take only pictures of these names as references; repeatable.  [default: all annotated ones]",
)
@click.option(
    "--corrections",
    nargs=2,
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="EDITED WRITTEN",
    help="Pictures whose annotations you corrected are further references: those that differ between the "
    "EDITED file and the one that dcc had WRITTEN; repeatable.",
)
@click.option(
    "--same-instance/--different",
    default=None,
    help="Whether all pictures show the same thing, as frames of one video do: points then follow its "
    "motion, too.  [default: yes for a video with a reference of its own frames]",
)
@click.option(
    "--min-confidence",
    type=Number(0, 1),
    metavar="P",
    help=f"Points of less confidence do not count: COCO's visibility is 0.  [default: {VISIBLE:g}]",
)
@click.option(
    "--references",
    "most",
    type=Whole(1, 64),
    default=5,
    show_default=True,
    metavar="N",
    help="Of many references, the N most similar ones vote on a picture.",
)
@click.option(
    "--review",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="SHEET.html",
    help="Write a page with every picture and its points, the least certain first.",
)
@click.option(
    "--save-masks",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Masks as PNG.",
)
@click.option(
    "--save-frames",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="The frames of a video, as PNG, which the annotations then name.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output and the sheet if they are there.")
@click.option("--restart", is_flag=True, help="Forget what an interrupted run has done.")
@refine_option
@ways_options
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout.")
@backend_option
@device_option
@threads_option
def propagate_command(
    arguments: tuple[str, ...],
    model: str | None,
    output: Path,
    form: str | None,
    min_confidence: float | None,
    most: int,
    same_instance: bool | None,
    review: Path | None,
    save_masks: Path | None,
    save_frames: Path | None,
    overwrite: bool,
    restart: bool,
    refine: bool | None,
    mirror: Mirror,
    views: int,
    as_json: bool,
    backend: str,
    device: str,
    threads: int,
    **given: Any,
) -> None:
    """Carry the annotations of a few pictures to many others, or through a video.

    \b
    Photographs:   dcc propagate annotated.json photos/ -o all.json --review sheet.html
    One picture:   dcc propagate crow.jpg photos/ --points points.csv -o all.json
    A video:       dcc propagate frame:0 clip.mp4 --points "320,240" -o tracks.csv
    Corrected:     dcc propagate annotated.json photos/ --corrections edited.json all.json -o new.json

    REFERENCE is a file of annotations (COCO, CVAT, Label Studio, DeepLabCut, SLEAP, CSV), a picture, or
    frame:N of the video. PICTURES is a folder (with the folders in it), a glob or a video file. Points,
    boxes and masks arrive with a confidence. A run that was interrupted continues when it is called again.
    """
    if len(arguments) < 2:
        raise UsageError(
            "name a reference and the pictures: dcc propagate annotated.json photos/ -o all.json"
        )
    *names, where = arguments
    chosen_form = format_of(output, form)
    drawn = Drawn(given["points"], given["mask"], given["box"], given["category"])
    refuse_to_overwrite(_input_files(names, where, given), [path for path in (output, review) if path])
    _refuse_to_replace(output, review, overwrite)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    inputs = read_inputs(names, where, drawn, given["pictures"], given["use"], given["corrections"])
    targets = find_targets(where, inputs.roots)
    _check_outputs(targets, inputs, chosen_form, save_masks, save_frames)
    if save_masks is not None:
        _check_mask_folder(save_masks, where, targets, inputs, given["mask"])
    mode = _mode(targets, inputs, same_instance)
    bundle, _ = choose_model(model, ())
    opened = bundle.open()
    if bundle.by_default:
        note(bundle.note)
    # Pictures that do not depend on each other are matched at once, a thread each: 1.5 times as fast as
    # all threads for one picture.
    workers = (threads or usable_cores()) if mode == SEMANTIC else 1
    threads = threads if workers == 1 else 1
    choice = BackendChoice(backend, device, threads=threads)
    with Matcher.open(
        opened, **choice._asdict(), refine=refine, mirror=mirror, views=views, on_note=note
    ) as matcher:
        if min_confidence is not None:
            matcher.require_confidence()
        elif matcher.manifest.confidence is None:
            warn("this bundle has no confidence: points count where the match back returns to them")
        settings = Propagation.of_confidence(min_confidence)
        job = Job(inputs.references, inputs.categories, targets, mode, settings, most)
        digest = f"{sha256(opened.path / 'manifest.json')} refine={matcher.refines}"
        if mirror is not False:  # absent from journals of before
            digest += f" mirror={mirror}"
        if views != 1:
            digest += f" views={views}"
        _tell(job)
        run = Run(job, output, chosen_form, review, save_masks, save_frames, inputs, bundle.named)
        run.carry(matcher, digest, restart, workers)
    if as_json:
        print_json(run.summary())
    if run.problems:
        raise ImageError(
            f"{len(run.problems)} of {len(run.pictures)} pictures could not be read; the others are done"
        )


def _input_files(names: Sequence[str], where: str, given: dict[str, Any]) -> list[Path]:
    corrections = [path for pair in given["corrections"] for path in pair]
    more = [*corrections, given["mask"], given["points"], where]
    return [Path(name) for name in (*names, *more) if name]


def _refuse_to_replace(output: Path, review: Path | None, overwrite: bool) -> None:
    """Annotations may have been corrected since."""
    if review is not None and review.resolve() == output.resolve():
        raise UsageError(f"the sheet and the annotations are both {output}: name another sheet")
    for path in (output, review):
        if path is not None and path.exists() and not overwrite:
            raise UsageError(f"{path} is there already: choose another name, or add --overwrite")


def _check_outputs(
    targets: Targets, inputs: Inputs, form: str, masks: Path | None, frames: Path | None
) -> None:
    every = [one for reference in inputs.references for one in reference.picture.instances]
    has_masks, has_boxes = (any(getattr(one, k) is not None for one in every) for k in ("mask", "box"))
    if masks is not None and not has_masks:
        raise UsageError("--save-masks needs a reference with a mask")
    if frames is not None and targets.video is None:
        raise UsageError("--save-frames goes with a video")
    if form in ("dlc", "sleap") and (has_masks or has_boxes):
        warn(f"the format {form} has points only: boxes and masks are left out")
    if form == "csv" and has_masks:
        warn("CSV has no masks: --save-masks FOLDER writes them as PNG")


def _check_mask_folder(
    masks: Path, where: str, targets: Targets, inputs: Inputs, drawn: Path | None
) -> None:
    """Masks must replace nothing that is read, and be no pictures of the next call."""
    folder, asked = masks.resolve(), Path(where).resolve()
    if asked.is_dir() and folder.is_relative_to(asked):
        raise UsageError(f"{masks} is in the folder of the pictures, {where}: write the masks elsewhere")
    read = [*targets.pictures, *(one.path for one in inputs.references), *([drawn] if drawn else [])]
    for path in read:
        if path.resolve().is_relative_to(folder):
            raise UsageError(f"{masks} contains {path}, which is read: write the masks to another folder")


def _mode(targets: Targets, inputs: Inputs, same: bool | None) -> str:
    if same is not None:
        return TEMPORAL if same else SEMANTIC
    video = targets.video
    own = video is not None and any(one.path.resolve() == video.resolve() for one in inputs.references)
    return TEMPORAL if own else SEMANTIC


def _tell(job: Job) -> None:
    count = f"{job.targets.count} " if job.targets.count else ""
    kind = "pictures" if job.targets.video is None else "frames"
    number = len(job.references)
    hint = ""
    if job.mode == SEMANTIC:
        hint = "; if they are frames of one video, add --same-instance"
    note(f"{number} reference{'s' * (number > 1)}, {count}{kind}: {MODES[job.mode]}{hint}")
