"""``dcc match --video``: from options to a stream, and from a stream to files and lines."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from dccnet.runtime.arrays import Mask
from dccnet.runtime.commands.held_signals import HeldSignals
from dccnet.runtime.commands.pictures import print_json, refuse_to_overwrite
from dccnet.runtime.commands.video_options import VideoOptions
from dccnet.runtime.console import console, note, progress_bar, warn
from dccnet.runtime.errors import ImageError, UsageError, VideoError
from dccnet.runtime.images import is_picture, read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.palettes import Palette
from dccnet.runtime.video import h264
from dccnet.runtime.video.annotations import (
    Annotations,
    parse_boxes,
    parse_points,
)
from dccnet.runtime.video.drawing import FrameDrawer
from dccnet.runtime.video.mask_files import read_mask
from dccnet.runtime.video.outputs.files import Outputs
from dccnet.runtime.video.outputs.records import frame_record
from dccnet.runtime.video.outputs.sequences import is_sequence
from dccnet.runtime.video.outputs.sink import OutputFrame
from dccnet.runtime.video.pipeline import Background
from dccnet.runtime.video.points_files import is_points_file, read_points
from dccnet.runtime.video.propagation.settings import Propagation
from dccnet.runtime.video.references import Reference, is_own_frame
from dccnet.runtime.video.sources import is_address, is_camera
from dccnet.runtime.video.stream import Stream
from dccnet.runtime.video.timing import StreamStats
from dccnet.runtime.video.writer import CODECS


@dataclass(frozen=True, slots=True, eq=False)
class VideoJob:
    """Everything that was read from the options, checked for contradictions."""

    source: str
    reference: str | list[Reference]
    annotations: Annotations
    """Annotations of the only reference; empty where there are several."""
    palette: Palette | None
    """Of the mask."""
    outputs: list[Path]
    options: VideoOptions


def read_job(
    source: str,
    references: Sequence[str],
    points: str | None,
    outputs: Sequence[Path],
    options: VideoOptions,
) -> VideoJob:
    """Check the options and read pictures, points and masks.

    Raises :class:`DccError` for what is wrong with them, before the network is loaded.
    """
    own_frames = [name for name in references if is_own_frame(name)]
    if own_frames and len(references) > 1:
        raise UsageError(f"--reference {own_frames[0]} goes with no other --reference")
    if options.follow and points is None:
        raise UsageError("--follow goes with --points")
    if options.save_masks is not None and options.mask is None:
        raise UsageError("--save-masks goes with --mask")
    if options.codec is not None and len(options.codec) != 4:
        raise UsageError(f"--codec takes four letters such as avc1, vp09 or MJPG, not '{options.codec}'")
    paths = list(outputs)
    if any(path.suffix.lower() == ".mp4" for path in paths) and not (options.codec or h264.available()):
        note(h264.ADVICE)
    videos = [path for path in paths if path.suffix.lower() in CODECS]
    if videos and not any(path.suffix.lower() == ".jsonl" for path in paths):
        paths.append(videos[0].with_suffix(".jsonl"))
    inputs = [Path(name) for name in (source, *references, points or "", options.mask or "") if name]
    refuse_to_overwrite(inputs, paths)
    _refuse_to_mix(source, [path.parent for path in paths if is_sequence(path)], options.save_masks)
    mask, palette = (None, None) if options.mask is None else read_mask(options.mask)
    annotations = _read_annotations(references, points, mask, options)
    if own_frames:
        return VideoJob(source, references[0], annotations, palette, paths, options)
    pictures = [Reference(read_image(name), name) for name in references]
    if points is not None and len(pictures) > 1:
        pictures = [
            picture.annotated(Annotations(*read_points(Path(points), picture.name))) for picture in pictures
        ]
    return VideoJob(source, pictures, annotations, palette, paths, options)


def _read_annotations(
    references: Sequence[str], points: str | None, mask: Mask | None, options: VideoOptions
) -> Annotations:
    """Annotations of the only reference. Points of several references come from one file, read later."""
    annotations = Annotations(mask=mask, boxes=parse_boxes(options.box) if options.box else None)
    several = len(references) > 1
    if points is not None and not is_points_file(points):
        annotations = dataclasses.replace(annotations, points=parse_points(points))
    elif points is not None and not several:
        positions, labels = read_points(Path(points), references[0])
        annotations = dataclasses.replace(annotations, points=positions, labels=labels)
    if several and annotations.given():
        raise UsageError(
            "several references take only --points FILE in COCO's format, which says whose points they are"
        )
    return annotations


def _refuse_to_mix(source: str, folders: list[Path], masks: Path | None) -> None:
    """Raises :class:`UsageError` where a file per frame would be written among the source's pictures."""
    path = Path(source)
    if is_camera(source) or is_address(source) or (path.is_file() and not is_picture(path)):
        return
    pictures = path if path.is_dir() else path.parent
    for folder in [*folders, masks]:
        if folder is not None and folder.resolve() == pictures.resolve():
            raise UsageError(f"{folder} contains the pictures of --video: write to another folder")


def run_job(
    matcher: Matcher, job: VideoJob, style: str, as_json: bool, min_confidence: float | None = None
) -> None:
    """Write every frame to the files; print a line of JSON for each with ``as_json`` or without files.

    ``min_confidence`` is that of :meth:`Matcher.stream`.

    Raises :class:`ImageError` at the end where frames of a file could not be read.
    """
    options, annotations = job.options, job.annotations
    stream = matcher.stream(
        job.source,
        job.reference,
        points=annotations.points,
        labels=annotations.labels or (),
        mask=annotations.mask,
        boxes=annotations.boxes,
        batch=options.batch or 1,
        live=options.live or None,
        reconnect=options.reconnect or 0,
        propagation=Propagation(smooth=options.smooth, follow=options.follow, map=options.map or "matches"),
        min_confidence=min_confidence,
        on_note=warn,
    )
    rate, live = stream.source.rate, stream.source.live
    outputs = Outputs(
        job.outputs, options.save_masks, rate=rate, codec=options.codec, in_time=live, palette=job.palette
    )
    to_stdout = as_json or not outputs.paths
    try:
        write_stream(stream, outputs, style, to_stdout, options.frames)
    finally:
        _report(stream, outputs, options, as_json)
    if stream.stats.unreadable and not stream.source.live:
        number, total = stream.stats.unreadable, stream.stats.frames + stream.stats.unreadable
        raise ImageError(f"{number} of {total} frames could not be read; the others are done")
    if stream.stats.damaged:
        raise VideoError(
            f"{stream.source.name} is damaged near {stream.stats.damaged} of {stream.stats.frames} frames: "
            "what was matched there may be wrong"
        )


def write_stream(
    stream: Stream, outputs: Outputs, style: str = "side", to_stdout: bool = False, limit: int | None = None
) -> None:
    """Draw in a thread, write in this one, with a progress bar on stderr.

    Closes the stream and finishes the files, also on Ctrl-C, which is raised again afterwards. ``limit`` is
    the largest number of frames.
    """
    signals = HeldSignals()
    with signals.held(), outputs, contextlib.ExitStack() as stack:
        progress = stack.enter_context(progress_bar("{task.fields[rate]}"))
        started = time.perf_counter()
        task = progress.add_task("matching", total=limit or stream.source.count or None, rate="")
        drawn = Background(_draw(stream, style if outputs.needs_drawing else None, limit))
        stack.enter_context(contextlib.closing(drawn))
        stack.enter_context(stream)  # closed before ``drawn``, whose thread waits for it
        while True:
            with signals.allowed():
                frame = next(drawn, None)
            if frame is None:
                break
            with stream.times.measure("write", {}):
                outputs.write(frame)
                if to_stdout:
                    print_json(frame_record(frame.result))
            rate = f"{outputs.frames / (time.perf_counter() - started):.1f} frames/s"
            dropped = f", {stream.dropped} dropped" if stream.dropped else ""
            progress.update(task, advance=1, rate=rate + dropped)


def _draw(stream: Stream, style: str | None, limit: int | None) -> Iterator[OutputFrame]:
    """Results with their drawings, which are None without a style."""
    drawer = None if style is None else FrameDrawer(style)
    for number, result in enumerate(stream, start=1):
        drawing = None
        if drawer is not None:
            with stream.times.measure("draw", {}):
                drawing = drawer.draw(result)
        yield OutputFrame(result, drawing)
        if number == limit:
            return


def _report(stream: Stream, outputs: Outputs, options: VideoOptions, as_json: bool) -> None:
    """Also after a run that failed or was stopped, if it wrote any frame."""
    stats = stream.stats
    if not outputs.frames:
        return
    dropped = f", {stats.dropped} dropped" if stream.source.live else ""
    dropped += f", {stats.reconnected} times opened again" if stats.reconnected else ""
    note(f"{outputs.frames} frames in {stats.seconds:.1f} s ({stats.rate:.1f} frames/s){dropped}")
    if outputs.paths:
        note(f"wrote {', '.join(map(str, outputs.paths))}")
    if options.stats:
        _print_stats(stats)
        if as_json:
            print(json.dumps({"stats": dataclasses.asdict(stats) | {"limiting": stats.limiting}}))


def _print_stats(stats: StreamStats) -> None:
    """Milliseconds per frame in each stage, and the stage that limits the rate, on stderr."""
    summary = f"{stats.frames} frames, {stats.dropped} dropped, {stats.rate:.1f} frames/s"
    table = Table("stage", title=summary, title_justify="left")
    for column in ("median ms", "p95 ms", "busy"):
        table.add_column(column, justify="right")
    for name, stage in stats.stages.items():
        busy = f"{100 * stage.total_s / max(stats.seconds, 1e-9):.0f} %"
        table.add_row(name, f"{1e3 * stage.median_s:.2f}", f"{1e3 * stage.p95_s:.2f}", busy)
    console.print(table)
    console.print(f"limited by {stats.limiting}")
