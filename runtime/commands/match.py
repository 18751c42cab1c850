"""``dcc match``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import cv2

from dccnet.runtime.arrays import Points
from dccnet.runtime.bulk.on_ray import Workers
from dccnet.runtime.commands import bulk, pictures
from dccnet.runtime.commands import video as video_job
from dccnet.runtime.commands.bulk_options import GROUP as BULK
from dccnet.runtime.commands.bulk_options import BulkOptions, bulk_options
from dccnet.runtime.commands.video_options import VideoOptions
from dccnet.runtime.confidence import VISIBLE
from dccnet.runtime.console import note
from dccnet.runtime.drawing.styles import STYLES
from dccnet.runtime.drawing.vector import VECTORS
from dccnet.runtime.errors import UsageError
from dccnet.runtime.images import SUFFIXES, find_images
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.option import ModelChoice, choose_model, model_option
from dccnet.runtime.onnx_runtime import PROVIDERS
from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import (
    Number,
    Whole,
    bf16_option,
    device_option,
    refine_option,
    threads_option,
    trust_engine_option,
    ways_options,
)
from dccnet.runtime.selection import BACKENDS
from dccnet.runtime.video.annotations import parse_points
from dccnet.runtime.video.drawing import STYLES as FRAME_STYLES
from dccnet.runtime.video.points_files import is_points_file, read_points
from dccnet.runtime.video.propagation.settings import MAPS
from dccnet.runtime.video.sources import is_address, is_camera
from dccnet.runtime.views.choices import Mirror
from dccnet.runtime.views.ways import Ways
from dccnet.runtime.writers import WRITERS

DRAWING = "matches.jpg"
"""Written where two pictures are all that the user names."""


GROUPS = {
    "Input": "--video --reference --points --mask --box",
    "Model": "--model --refine --mirror --views --min-confidence",
    "Output": "--output --draw --json --save-masks --codec --stats",
    "Many pairs": BULK,
    "Video": "--map --follow --smooth --batch --live --reconnect --frames",
    "Machine": "--backend --device --provider --bf16 --trust-engine --threads",
}


@click.command(cls=GroupedCommand, groups=GROUPS)
@click.argument("arguments", nargs=-1, metavar="[BUNDLE] [A B...]")
@model_option
@click.option(
    "--video",
    metavar="SOURCE",
    help="Video file, folder or glob of pictures, index of a camera, or rtsp:// or http:// address.",
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="IMAGE",
    help="Picture to match every frame of --video with; if repeated, the best one for each frame. Or "
    "frame:0 (or another number) for a frame of the video itself, or previous for the frame before.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File to write, in the format of its suffix; repeatable. For two pictures: .jpg, .png, .pdf, "
    ".svg, .json, .csv, .parquet, .npz, .flo; for several B, and for --pairs, a folder. For a video: .mp4, "
    ".webm, .avi, .jsonl, .csv, .npz, .h5, or a file for each frame: flow/%06d.flo, drawn/%06d.png.  "
    f"[default: {DRAWING} for two pictures without BUNDLE, --json and --points]",
)
@click.option(
    "--points",
    metavar='"X,Y;X,Y"|FILE',
    help="Points of A (or the reference) to transfer, in pixels; or a file: .csv, .json, COCO keypoints.",
)
@click.option(
    "--mask", type=click.Path(path_type=Path), help="Mask of the reference to carry to every frame."
)
@click.option(
    "--box",
    multiple=True,
    metavar='"X,Y,W,H"',
    help="Box of the reference to carry to every frame; repeatable.",
)
@click.option(
    "--map",
    type=click.Choice(MAPS),
    help="How to carry: by the matches around each point, as for two pictures, or by a smooth map through "
    "all of them, which suits one rigid scene.  [default: matches]",
)
@click.option(
    "--min-confidence",
    type=Number(0, 1),
    metavar="P",
    help="Leave out matches of less confidence, from 0 to 1, in drawings, files and lists. Points of "
    "--points stay in lists, and are visible from P on.  [default: every match; points are visible from "
    f"{VISIBLE:g} on]",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Let points follow the picture from frame to frame, and return to their match where both part.",
)
@click.option("--smooth", is_flag=True, help="Smooth carried points over time (One-Euro filter).")
@click.option(
    "--save-masks",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder for the carried masks, as PNG.",
)
@click.option(
    "--draw",
    type=click.Choice([*STYLES, *FRAME_STYLES]),
    help=f"Style of drawings: {', '.join(STYLES)} for pictures; {', '.join(FRAME_STYLES)} for frames.  "
    "[default: lines; side]",
)
@click.option(
    "--codec",
    metavar="FOUR",
    help="Codec of the output video.  [default: in .mp4 H.264, without the extra video VP9; .webm VP8; "
    ".avi MJPG]",
)
@click.option(
    "--batch", type=Whole(1, 64), metavar="N", help="Match N frames or pairs in one run.  [default: 1]"
)
@click.option("--live", is_flag=True, help="Match the newest frame, drop late ones; cameras always do.")
@click.option(
    "--reconnect",
    type=Whole(1),
    metavar="N",
    help="Open a camera or address that breaks off again, up to N times.",
)
@click.option("--frames", type=Whole(1), metavar="N", help="Stop after N frames.")
@click.option(
    "--stats",
    is_flag=True,
    help="End with a table of the time in each stage, and which stage limits the rate.",
)
@bulk_options
@refine_option
@ways_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print every match as JSON on stdout; of --pairs, a summary."
)
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="What runs the network; auto takes what dcc tune chose for it, or what is usually fastest on this "
    "machine, and says which.",
)
@device_option
@click.option(
    "--provider",
    type=click.Choice(list(PROVIDERS)),
    help="ONNX Runtime's execution provider; dcc doctor lists those that it has.  "
    "[default: depends on --device]",
)
@bf16_option
@trust_engine_option
@threads_option
def match(
    arguments: tuple[str, ...],
    model: str | None,
    video: str | None,
    references: tuple[str, ...],
    outputs: tuple[Path, ...],
    points: str | None,
    as_json: bool,
    draw: str | None,
    min_confidence: float | None,
    backend: str,
    device: str,
    provider: str | None,
    bf16: bool,
    trust_engine: bool,
    threads: int,
    refine: bool | None,
    mirror: Mirror,
    views: int,
    **options: Any,
) -> None:
    """Find correspondences between pictures, or in a video.

    \b
    Two pictures:  dcc match A.jpg B.jpg
                   dcc match --model BUNDLE A.jpg B.jpg -o matches.jpg -o matches.json
    Many:          dcc match A.jpg 'photos/*.jpg' -o FOLDER
    A list:        dcc match --pairs pairs.csv -o FOLDER
    A video:       dcc match --reference A.jpg --video IN.mp4 -o OUT.mp4
    A camera:      dcc match --reference frame:0 --video 0 --points "320,240"

    A model comes with dcc; --model or, as the first argument, BUNDLE names another one. Points and matches
    are pixels (x, y) of the original pictures: 0-based, x right, y down. A video produces one line of JSON
    for each frame, in OUT.jsonl beside OUT.mp4, or on stdout without -o. Ctrl-C stops it; the files then
    contain every frame up to that moment.
    """
    many = BulkOptions(**{field.name: options.pop(field.name) for field in fields(BulkOptions)})
    video_options = VideoOptions(**options)
    chosen, images = choose_model(model, arguments)
    _check_usage(video, references, chosen, images, video_options, many)
    ways = Ways(mirror, views)
    if video is not None and mirror is not False:
        raise UsageError("frames of a video are not matched mirrored: remove --mirror")
    if many.workers is not None and many.ray is None:
        raise UsageError("--workers goes with --ray")
    if many.pairs is not None and (points is not None or draw is not None):
        raise UsageError("with --pairs nothing is drawn, and points are in the list: see docs/scale.md")
    style = _style(draw, video, points)
    _quiet_opencv(video)
    if many.pairs is not None:
        bulk.output_folder(outputs)
    elif video is not None:
        job = video_job.read_job(video, references, points, outputs, video_options)
    else:
        points_a = None if points is None else _points(points, images[0])
        report = pictures.Report(points_a, as_json, style, min_confidence)
        # Whatever number of files a glob matches; a pipe is no file, but one picture.
        pair = len(images) == 2 and Path(images[1]).exists() and not Path(images[1]).is_dir()
        if pair and not (outputs or chosen.as_argument or as_json or points is not None):
            outputs = (Path(DRAWING),)

    def open_matcher() -> Matcher:
        """Called after everything that can be wrong with the pictures and outputs was checked."""
        bundle = chosen.open()
        if chosen.by_default:
            note(chosen.note)
        matcher = Matcher.open(
            bundle,
            backend=backend,
            device=device,
            provider=provider,
            threads=threads,
            trust_engine=trust_engine,
            bf16=bf16,
            refine=refine,
            **ways._asdict(),
            on_note=note,
        )
        if min_confidence is not None:
            matcher.require_confidence()
        if backend == "auto":
            note(f"running on {matcher.backend.description}")
        chosen.warn_unless_verified(matcher.manifest)
        return matcher

    if many.pairs is not None:
        opened = {"backend": backend, "device": device, "provider": provider, "threads": threads or 1}
        opened |= {"trust_engine": trust_engine, "bf16": bf16, "refine": refine, **ways._asdict()}
        gpus = float(device.startswith("cuda"))
        workers = Workers(str(chosen.path.absolute()), opened, many.workers, threads or 1, gpus)
        batch, manifest = video_options.batch, chosen.open().manifest
        bulk.match_list(
            manifest, open_matcher, many, outputs, batch, min_confidence, refine, ways, workers, as_json
        )
        return
    if video is not None:
        video_job.run_job(open_matcher(), job, style, as_json, min_confidence)
        return
    path_a = Path(images[0])
    if pair:
        pictures.match_pair(open_matcher, path_a, Path(images[1]), _file_outputs(outputs, style), report)
    else:
        others = [path for pattern in images[1:] for path in find_images(pattern)]
        pictures.match_many(open_matcher, path_a, others, _folder_output(outputs), report)


def _check_usage(
    video: str | None,
    references: Sequence[str],
    chosen: ModelChoice,
    images: Sequence[str],
    video_options: VideoOptions,
    many: BulkOptions,
) -> None:
    if many.pairs is not None and (video is not None or references or images):
        raise UsageError("with --pairs, the list names the pictures: name no others, and no --video")
    for field in fields(many) if many.pairs is None else ():
        if getattr(many, field.name) not in (None, False):
            raise UsageError(f"--{field.name.replace('_', '-')} goes with --pairs")
    if (video is None) != (not references):
        raise UsageError("--video and --reference go together")
    if video is None and many.pairs is None and len(images) < 2:
        raise UsageError(f"{chosen.two_missing(images)}; or use --reference with --video")
    if video is not None and images:
        raise UsageError("with --video, name the picture with --reference and no other")
    for field in fields(video_options) if video is None else ():
        if getattr(video_options, field.name) and not (field.name == "batch" and many.pairs is not None):
            raise UsageError(f"--{field.name.replace('_', '-')} goes with --video")


def _style(draw: str | None, video: str | None, points: str | None) -> Any:
    styles: Sequence[str] = STYLES if video is None else FRAME_STYLES
    if draw is None:
        return styles[0]
    if draw not in styles:
        raise UsageError(f"--draw {draw} goes {'with' if video is None else 'without'} --video")
    if video is None and points is not None:
        raise UsageError("--points are drawn with their numbers: remove --draw")
    return draw


def _quiet_opencv(video: str | None) -> None:
    """The command itself reports what OpenCV and FFmpeg say about damaged files, in one sentence.

    What FFmpeg says about a live source cannot be collected (:mod:`dccnet.runtime.native_messages`).
    """
    if video is not None and (is_camera(video) or is_address(video)):
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def _points(text: str, picture: str) -> Points:
    return read_points(Path(text), picture)[0] if is_points_file(text) else parse_points(text)


def _file_outputs(outputs: Sequence[Path], style: str) -> Sequence[Path]:
    known = [*sorted(SUFFIXES), *VECTORS, *WRITERS]
    for path in outputs:
        suffix = path.suffix.lower()
        if suffix not in known:
            raise UsageError(f"cannot write '{path}': its suffix must be one of {', '.join(known)}")
        if suffix in VECTORS and style != "lines":
            raise UsageError(f"--draw {style} cannot be written as '{path.name}': use .png or .jpg")
    return outputs


def _folder_output(outputs: Sequence[Path]) -> Path | None:
    if len(outputs) > 1 or (outputs and outputs[0].suffix):
        raise UsageError("several pictures B need one -o that names a folder")
    return outputs[0] if outputs else None
