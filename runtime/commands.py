"""``dcc match``."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.console import note, progress_bar, warn
from runtime.correspondences import Correspondences
from runtime.drawing import draw_matches, draw_points
from runtime.engine import PROVIDERS
from runtime.errors import UsageError
from runtime.files import atomic_path
from runtime.images import SUFFIXES, Image, find_images, read_image, write_image
from runtime.matcher import Matcher
from runtime.video import open_frames, video_writer
from runtime.writers import SCHEMA, WRITERS, save_correspondences, to_dict

LINES = 60
"""Matches drawn when no points are asked for."""
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
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads.  [default: all cores]")
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
        match_video(matcher, reference, video, outputs, wanted)
        return
    image_a = read_image(images[0])
    others = [path for pattern in images[1:] for path in find_images(pattern)]
    if len(others) == 1:
        targets = _file_outputs(outputs)
        match_pair(matcher, image_a, others[0], targets, wanted, as_json)
    else:
        match_many(matcher, image_a, others, _folder_output(outputs), wanted, as_json)


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


def match_pair(
    matcher: Matcher,
    image_a: Image,
    path_b: Path,
    outputs: Sequence[Path],
    points: NDArray[np.float64] | None,
    as_json: bool,
) -> None:
    image_b = read_image(path_b)
    if points is not None:
        _check_inside(points, image_a)
    result = matcher.match(image_a, image_b)
    for path in outputs:
        if path.suffix.lower() in SUFFIXES:
            write_image(path, _drawing(result, image_a, image_b, points))
        else:
            save_correspondences(result, path)
        note(f"wrote {path}")
    if as_json:
        record = to_dict(result)
        if points is not None:
            record |= _transferred(result, points)
        click.echo(json.dumps(record, allow_nan=False))
    elif points is not None:
        for line in _point_lines(result, points):
            click.echo(line)
    else:
        mutual = result.mutual()
        cells = result.index_a.size
        click.echo(
            f"{len(mutual)} of {cells} cells match mutually, median score "
            f"{np.median(mutual.scores) if len(mutual) else 0:.3g}"
        )


def match_many(
    matcher: Matcher,
    image_a: Image,
    others: Sequence[Path],
    folder: Path | None,
    points: NDArray[np.float64] | None,
    as_json: bool,
) -> None:
    """A, encoded once, against each of the others: a line of JSON or text for each."""
    if points is not None:
        _check_inside(points, image_a)
    features = matcher.encode(image_a)
    with progress_bar() as progress:
        for path in progress.track(others, description="matching"):
            image_b = read_image(path)
            result = matcher.match(features, image_b)
            if folder is not None:
                write_image(folder / f"{path.stem}.jpg", _drawing(result, image_a, image_b, points))
                save_correspondences(result, folder / f"{path.stem}.json")
            if as_json:
                record = {"image": str(path)} | to_dict(result)
                if points is not None:
                    record |= _transferred(result, points)
                click.echo(json.dumps(record, allow_nan=False))
            elif points is not None:
                for line in _point_lines(result, points):
                    click.echo(f"{path}\t{line}")
            else:
                click.echo(f"{path}\t{len(result.mutual())} mutual matches")
    if folder is not None:
        note(f"wrote {2 * len(others)} files to {folder}")


def match_video(
    matcher: Matcher,
    reference: str,
    video: str,
    outputs: Sequence[Path],
    points: NDArray[np.float64] | None,
) -> None:
    """The reference, encoded once, against every frame: annotated video and a line of JSON each."""
    if len(outputs) > 1 or (outputs and outputs[0].suffix.lower() not in VIDEO_SUFFIXES):
        raise UsageError(f"a video takes one -o that ends in {' or '.join(VIDEO_SUFFIXES)}")
    picture = read_image(reference)
    if points is not None:
        _check_inside(points, picture)
    source = open_frames(video)
    features = matcher.encode(picture)
    with contextlib.ExitStack() as stack:
        writer = lines = None
        if outputs:
            writer = stack.enter_context(video_writer(outputs[0], source.rate))
            data = outputs[0].with_suffix(".jsonl")
            file = stack.enter_context(atomic_path(data))
            lines = stack.enter_context(file.open("w", encoding="utf-8"))
        progress = stack.enter_context(progress_bar("{task.fields[rate]}"))
        task = progress.add_task("matching", total=source.count or None, rate="")
        started, number = time.perf_counter(), 0
        for number, frame in enumerate(source.frames, start=1):
            result = matcher.match(features, frame)
            record = _frame_record(result, number - 1, source.rate, points)
            if writer is not None and lines is not None:
                writer.write(_drawing(result, picture, frame, points))
                lines.write(json.dumps(record, allow_nan=False) + "\n")
            else:
                click.echo(json.dumps(record, allow_nan=False))
            rate = number / (time.perf_counter() - started)
            progress.update(task, advance=1, rate=f"{rate:.1f} frames/s")
    seconds = time.perf_counter() - started
    note(f"{number} frames in {seconds:.1f} s ({number / seconds:.1f} frames/s)")
    if 0 < number < source.count:
        warn(f"{video} says it has {source.count} frames and ended after {number}: it may be truncated")
    if outputs:
        note(f"wrote {outputs[0]} and {outputs[0].with_suffix('.jsonl')}")


def _frame_record(
    result: Correspondences, number: int, rate: float, points: NDArray[np.float64] | None
) -> dict[str, Any]:
    head = {
        "schema": SCHEMA,
        "frame": number,
        "time_s": round(number / rate, 6),
        "size": list(result.size_b),
    }
    if points is not None:
        return head | _transferred(result, points)
    mutual = result.mutual()
    return head | {
        "points_a": np.round(mutual.points_a, 3).tolist(),
        "points_b": np.round(mutual.points_b, 3).tolist(),
        "scores": [float(f"{score:.6g}") for score in mutual.scores],
    }


def _transferred(result: Correspondences, points: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "points_a": points.tolist(),
        "points_b": np.round(result.transfer(points, from_="a"), 3).tolist(),
        "scores": [float(f"{s:.6g}") for s in result.transfer_scores(points, from_="a")],
    }


def _point_lines(result: Correspondences, points: NDArray[np.float64]) -> list[str]:
    moved, scores = result.transfer(points, from_="a"), result.transfer_scores(points, from_="a")
    return [
        f"{a[0]:g},{a[1]:g}\t{b[0]:.2f},{b[1]:.2f}\t{score:.4g}"
        for a, b, score in zip(points, moved, scores, strict=True)
    ]


def _drawing(
    result: Correspondences, image_a: Image, image_b: Image, points: NDArray[np.float64] | None
) -> Image:
    if points is None:
        return draw_matches(image_a, image_b, result.mutual(), LINES)
    return draw_points(image_a, image_b, points, result.transfer(points, from_="a"))


def _check_inside(points: NDArray[np.float64], image: Image) -> None:
    height, width = image.shape[:2]
    outside = (points < 0).any(axis=1) | (points > [width - 1, height - 1]).any(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise UsageError(f"the point {x:g},{y:g} lies outside the {width}x{height} picture")


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
