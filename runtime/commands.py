"""``dcc match``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from runtime import jobs
from runtime.console import warn
from runtime.engine import PROVIDERS
from runtime.errors import UsageError
from runtime.images import SUFFIXES, find_images
from runtime.matcher import Matcher
from runtime.writers import WRITERS

VIDEO_SUFFIXES = (".mp4", ".avi")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, metavar="[A B...]")
@click.option("--reference", metavar="IMAGE", help="Picture to match every frame of --video with.")
@click.option("--video", metavar="FILE", help="Video file, or folder or glob of frames.")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Where to write, by suffix: a picture (.jpg, .png), data (.json, .csv, .npz, .flo), a video "
    "(.mp4, .avi); repeatable. A folder where there are several B.",
)
@click.option(
    "--points", metavar='"X,Y;X,Y"', help="Points of A (or the reference) to carry over, in pixels."
)
@click.option("--json", "as_json", is_flag=True, help="Print every match as JSON on stdout.")
@click.option("--provider", type=click.Choice(list(PROVIDERS)), default="cpu", show_default=True)
@click.option(
    "--threads", type=click.IntRange(0, 256), default=0, help="CPU threads.  [default: all cores]"
)
def match(
    bundle: Path,
    images: tuple[str, ...],
    reference: str | None,
    video: str | None,
    outputs: tuple[Path, ...],
    points: str | None,
    as_json: bool,
    provider: str,
    threads: int,
) -> None:
    """Find correspondences with an exported BUNDLE.

    \b
    Two pictures:  dcc match BUNDLE A.jpg B.jpg -o matches.jpg -o matches.json
    Many:          dcc match BUNDLE A.jpg 'photos/*.jpg' -o FOLDER
    A video:       dcc match BUNDLE --reference A.jpg --video IN.mp4 -o OUT.mp4

    Points and matches are pixels (x, y) of the original pictures: 0-based, x right, y down. A video
    gives one line of JSON for each frame, in OUT.jsonl beside OUT.mp4, or on stdout without -o.
    """
    if (video is None) != (reference is None):
        raise UsageError("--video and --reference go together")
    if video is None and len(images) < 2:
        raise UsageError("name two pictures, A and B, or use --reference with --video")
    if video is not None and images:
        raise UsageError("with --video, name the picture with --reference and no other")
    wanted = None if points is None else parse_points(points)
    _quiet_opencv()
    matcher = Matcher.open(bundle, provider=provider, threads=threads)
    if not matcher.manifest.verified:
        warn(f"{bundle} is marked as not verified: its matches may differ from the network's")
    if video is not None and reference is not None:
        jobs.match_video(matcher, Path(reference), video, _video_output(outputs), wanted, as_json)
        return
    path_a = Path(images[0])
    others = [path for pattern in images[1:] for path in find_images(pattern)]
    if len(images) == 2 and Path(images[1]).is_file():  # not how many a glob happens to find
        jobs.match_pair(matcher, path_a, others[0], _file_outputs(outputs), wanted, as_json)
    else:
        jobs.match_many(matcher, path_a, others, _folder_output(outputs), wanted, as_json)


def _quiet_opencv() -> None:
    """What OpenCV and FFmpeg print about damaged files, the command says in one sentence."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def parse_points(text: str) -> NDArray[np.float64]:
    """``"x,y;x,y"`` -> ``(N, 2)`` pixels. Raises :class:`UsageError`."""
    try:
        values = [[float(v) for v in pair.split(",")] for pair in text.split(";") if pair.strip()]
        points = np.array(values, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError
        return points
    except ValueError:
        raise UsageError(
            f"--points must look like \"120,80;200.5,64\" (x,y in pixels), not '{text}'"
        ) from None


def _file_outputs(outputs: Sequence[Path]) -> Sequence[Path]:
    known = [*sorted(SUFFIXES), *WRITERS]
    for path in outputs:
        if path.suffix.lower() not in known:
            raise UsageError(f"cannot write '{path}': its suffix must be one of {', '.join(known)}")
    return outputs


def _folder_output(outputs: Sequence[Path]) -> Path | None:
    if len(outputs) > 1 or (outputs and outputs[0].suffix):
        raise UsageError("several pictures B need one -o that names a folder")
    return outputs[0] if outputs else None


def _video_output(outputs: Sequence[Path]) -> Path | None:
    if len(outputs) > 1 or (outputs and outputs[0].suffix.lower() not in VIDEO_SUFFIXES):
        raise UsageError(f"a video takes one -o that ends in {' or '.join(VIDEO_SUFFIXES)}")
    return outputs[0] if outputs else None
