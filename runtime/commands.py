"""``dcc match`` and ``dcc build``."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from runtime import jobs
from runtime.bundle import Bundle
from runtime.console import note, steps, warn
from runtime.errors import UsageError
from runtime.images import SUFFIXES, find_images
from runtime.matcher import Matcher
from runtime.onnx_runtime import PROVIDERS
from runtime.selection import BACKENDS
from runtime.tensorrt.bundled import add_engines, build_engines, summary, write_engines
from runtime.tensorrt.options import engine_options, library_and_settings
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
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="What runs the network; auto takes the fastest that is really there, and says which.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or cuda:N.")
@click.option(
    "--provider", type=click.Choice(list(PROVIDERS)), help="Of ONNX Runtime.  [default: goes with --device]"
)
@click.option("--trust-engine", is_flag=True, help="Load engines in the bundle that have no sidecar.")
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
    backend: str,
    device: str,
    provider: str | None,
    trust_engine: bool,
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
    matcher = Matcher.open(
        bundle,
        backend=backend,
        device=device,
        provider=provider,
        threads=threads,
        trust_engine=trust_engine,
        on_note=note,
    )
    if backend == "auto":
        note(f"running on {matcher.backend.description}")
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


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to.  [default: into the bundle]",
)
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON.")
def build(bundle: Path, output: Path | None, as_json: bool, **options: Any) -> None:
    """Compile a BUNDLE's graphs to engines of TensorRT or TensorRT-RTX.

    TensorRT needs the GPU that will run them; TensorRT-RTX builds for any --target on any machine. Without
    this command, dcc match builds on first use and keeps the engines in a cache. An engine is a plain plan
    file, as trtexec and Triton load it; the .json beside it says what it is.
    """
    library, settings = library_and_settings(**options)
    opened = Bundle.open(bundle)
    with steps("building", len(opened.manifest.graphs)) as step:
        engines = build_engines(opened, library, settings, step, step.detail)
    if output is None:
        add_engines(opened, engines)
    else:
        write_engines(engines, output)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(engine.record) for engine in engines], indent=2))
    for engine in engines:
        note(summary(engine.record))
        if not as_json:
            click.echo((output or bundle) / engine.record.file)


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
