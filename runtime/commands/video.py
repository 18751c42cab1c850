"""What ``dcc match --video`` does: from options to a stream, from a stream to files and lines."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dccnet.runtime.commands.pictures import print_json, refuse_to_overwrite
from dccnet.runtime.console import note, progress_bar, stats_table, warn
from dccnet.runtime.errors import ImageError, UsageError
from dccnet.runtime.images import SUFFIXES, read_image
from dccnet.runtime.interrupts import Interrupts
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.video.drawing import draw_frame
from dccnet.runtime.video.outputs.files import Outputs
from dccnet.runtime.video.outputs.records import frame_record
from dccnet.runtime.video.outputs.sequences import is_sequence
from dccnet.runtime.video.outputs.sink import Shown
from dccnet.runtime.video.pipeline import Background
from dccnet.runtime.video.propagation.reading import (
    is_points_file,
    parse_boxes,
    parse_points,
    read_mask,
    read_points,
)
from dccnet.runtime.video.propagation.settings import Propagation
from dccnet.runtime.video.references import PREVIOUS, Reference, frame_number
from dccnet.runtime.video.sources import is_address, is_camera
from dccnet.runtime.video.stream import Stream
from dccnet.runtime.video.writer import CODECS

if TYPE_CHECKING:
    from dccnet.runtime.commands.match import Given

COUNT_TOLERANCE = 2
"""Frames by which intact files are off when they say how many they hold."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class VideoJob:
    """Options that were read and make sense together."""

    source: str
    reference: str | list[Reference]
    carried: dict[str, Any]
    """``points``, ``labels``, ``mask`` and ``boxes`` of the only reference, where it has any."""
    outputs: list[Path]
    given: Given


def plan(
    source: str, references: Sequence[str], points: str | None, outputs: Sequence[Path], given: Given
) -> VideoJob:
    """Read pictures, points and masks. Raises :class:`DccError` before anything slow is done."""
    own = [name for name in references if name == PREVIOUS or frame_number(name) is not None]
    if own and len(references) > 1:
        raise UsageError(f"--reference {own[0]} goes with no other --reference")
    if given.save_masks is not None and given.mask is None:
        raise UsageError("--save-masks goes with --mask")
    if given.codec is not None and len(given.codec) != 4:
        raise UsageError(f"--codec takes four letters such as mp4v, MJPG or avc1, not '{given.codec}'")
    paths = list(outputs)
    videos = [path for path in paths if path.suffix.lower() in CODECS]
    if videos and not any(path.suffix.lower() == ".jsonl" for path in paths):
        paths.append(videos[0].with_suffix(".jsonl"))
    inputs = [Path(name) for name in (source, *references, points or "", given.mask or "") if name]
    refuse_to_overwrite(inputs, paths)
    _refuse_to_mix(source, [path.parent for path in paths if is_sequence(path)], given.save_masks)
    carried: dict[str, Any] = {}
    if given.mask is not None:
        carried["mask"] = read_mask(given.mask)
    if given.box:
        carried["boxes"] = parse_boxes(given.box)
    several = len(references) > 1
    if points is not None and not is_points_file(points):
        carried["points"] = parse_points(points)
    elif points is not None and not several:
        carried["points"], carried["labels"] = read_points(Path(points), references[0])
    if carried and several:
        raise UsageError("several references: only --points FILE in COCO's format says which is whose")
    if own:
        return VideoJob(source, references[0], carried, paths, given)
    pictures = [Reference(read_image(name), name) for name in references]
    if points is not None and several:
        read = [read_points(Path(points), name) for name in references]
        pictures = [
            dataclasses.replace(picture, points=found, labels=labels)
            for picture, (found, labels) in zip(pictures, read, strict=True)
        ]
    return VideoJob(source, pictures, carried, paths, given)


def _refuse_to_mix(source: str, folders: list[Path], masks: Path | None) -> None:
    """Raises :class:`UsageError` where a file for each frame would land among the source's pictures."""
    path = Path(source)
    if is_camera(source) or is_address(source) or (path.is_file() and path.suffix.lower() not in SUFFIXES):
        return
    pictures = path if path.is_dir() else path.parent
    for folder in [*folders, masks]:
        if folder is not None and folder.resolve() == pictures.resolve():
            raise UsageError(f"{folder} holds the pictures of --video: write to another folder")


def run(matcher: Matcher, job: VideoJob, style: str, as_json: bool) -> None:
    """Every frame to the files, and a line of JSON each to stdout with ``as_json`` or without files.

    Raises :class:`ImageError` in the end where frames of a file could not be read.
    """
    given = job.given
    stream = matcher.stream(
        job.source,
        job.reference,
        **job.carried,
        batch=given.batch or 1,
        live=given.live or None,
        propagation=Propagation(smooth=given.smooth),
        on_note=warn,
    )
    rate, live = stream.source.rate, stream.source.live
    outputs = Outputs(job.outputs, given.save_masks, rate=rate, codec=given.codec, in_time=live)
    to_stdout = as_json or not outputs.paths
    try:
        write_stream(stream, outputs, style, to_stdout, given.frames)
        _warn_if_short(stream, given.frames)
    finally:
        _report(stream, outputs, given, as_json)
    if stream.stats.unreadable and not stream.source.live:
        number, total = stream.stats.unreadable, stream.stats.frames + stream.stats.unreadable
        raise ImageError(f"{number} of {total} frames could not be read; the others are done")


def write_stream(
    stream: Stream, outputs: Outputs, style: str = "side", to_stdout: bool = False, limit: int | None = None
) -> None:
    """Draw in a thread, write in this one, with a bar on stderr. Closes the stream and finishes the files,
    also on Ctrl-C, which is raised again afterwards."""
    interrupts = Interrupts()
    with interrupts.held(), outputs, contextlib.ExitStack() as stack:
        progress = stack.enter_context(progress_bar("{task.fields[rate]}"))
        started = time.perf_counter()
        task = progress.add_task("matching", total=limit or stream.source.count or None, rate="")
        drawn = Background(_drawn(stream, style if outputs.needs_drawing else None, limit))
        stack.enter_context(contextlib.closing(drawn))
        stack.enter_context(stream)  # closed first: the drawing waits for it
        while True:
            with interrupts.allowed():
                shown = next(drawn, None)
            if shown is None:
                break
            with stream.times.measure("write", {}):
                outputs.write(shown)
                if to_stdout:
                    print_json(frame_record(shown.result))
            rate = f"{outputs.frames / (time.perf_counter() - started):.1f} frames/s"
            dropped = f", {stream.dropped} dropped" if stream.dropped else ""
            progress.update(task, advance=1, rate=rate + dropped)


def _drawn(stream: Stream, style: str | None, limit: int | None) -> Iterator[Shown]:
    for number, result in enumerate(stream, start=1):
        drawing = None
        if style is not None:
            with stream.times.measure("draw", {}):
                drawing = draw_frame(result, style)
        yield Shown(result, drawing)
        if number == limit:
            return


def _warn_if_short(stream: Stream, limit: int | None) -> None:
    source, seen = stream.source, stream.stats.frames + stream.stats.unreadable
    if limit is None and source.count - seen > max(COUNT_TOLERANCE, 0.02 * source.count):
        warn(f"{source.name} says it has {source.count} frames and ended after {seen}: it may be truncated")


def _report(stream: Stream, outputs: Outputs, given: Given, as_json: bool) -> None:
    """Also of a run that failed or was stopped, if it came to anything."""
    stats = stream.stats
    if not outputs.frames:
        return
    dropped = f", {stats.dropped} dropped" if stream.source.live else ""
    note(f"{outputs.frames} frames in {stats.seconds:.1f} s ({stats.rate:.1f} frames/s){dropped}")
    if outputs.paths:
        note(f"wrote {', '.join(map(str, outputs.paths))}")
    if given.stats:
        stats_table(stats)
        if as_json:
            print(json.dumps({"stats": dataclasses.asdict(stats) | {"limiting": stats.limiting}}))
