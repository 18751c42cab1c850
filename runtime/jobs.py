"""What ``dcc match`` does: a pair, many pictures, or a video. Data to stdout, news to stderr."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.console import note, progress_bar, warn
from runtime.correspondences import Correspondences
from runtime.drawing import draw_matches, draw_points
from runtime.errors import ImageError, UsageError
from runtime.files import atomic_path
from runtime.images import SUFFIXES, Image, read_image, write_image
from runtime.matcher import Matcher
from runtime.matches import PointMatches
from runtime.video import open_frames, video_writer
from runtime.writers import SCHEMA, match_lists, save_correspondences, to_dict

LINES = 60
"""Matches drawn when no points are asked for."""

COUNT_TOLERANCE = 2
"""Frames by which intact files are off when they say how many they hold."""

Points = NDArray[np.float64]
"""``(N, 2)`` pixels of picture A."""


def match_pair(
    matcher: Matcher,
    path_a: Path,
    path_b: Path,
    outputs: Sequence[Path],
    points: Points | None,
    as_json: bool,
) -> None:
    """A and B: the drawing and data files asked for, and matches or a summary on stdout."""
    refuse_to_overwrite([path_a, path_b], outputs)
    image_a, image_b = read_image(path_a), read_image(path_b)
    _check_inside(points, image_a)
    result = matcher.match(image_a, image_b)
    shown = _shown(result, points)
    for path in outputs:
        if path.suffix.lower() in SUFFIXES:
            write_image(path, _drawing(image_a, image_b, shown, points))
        else:
            save_correspondences(result, path)
        note(f"wrote {path}")
    if as_json:
        _print_json(_record(result, shown, points))
    elif points is not None:
        print(*_lines(shown), sep="\n")
    else:
        median = np.median(shown.scores) if len(shown) else 0
        print(f"{len(shown)} of {result.index_a.size} cells match mutually, median score {median:.3g}")


def match_many(
    matcher: Matcher,
    path_a: Path,
    others: Sequence[Path],
    folder: Path | None,
    points: Points | None,
    as_json: bool,
) -> None:
    """A, encoded once, against each of the others: a line of JSON or text for each.

    A picture that cannot be read is skipped with a warning; in the end that is an :class:`ImageError`.
    """
    image_a = read_image(path_a)
    _check_inside(points, image_a)
    skipped = 0
    written = [] if folder is None else _targets(folder, others)
    features = matcher.encode(image_a)
    with progress_bar() as progress:
        for number, path in enumerate(progress.track(others, description="matching")):
            try:
                image_b = read_image(path)
            except ImageError as error:
                warn(f"{error}; skipped")
                skipped += 1
                continue
            result = matcher.match(features, image_b)
            shown = _shown(result, points)
            if folder is not None:
                drawing, data = written[number]
                write_image(drawing, _drawing(image_a, image_b, shown, points))
                save_correspondences(result, data)
            if as_json:
                _print_json({"image": str(path)} | _record(result, shown, points))
            elif points is not None:
                for line in _lines(shown):
                    print(f"{path}\t{line}")
            else:
                print(f"{path}\t{len(shown)} mutual matches")
    if folder is not None:
        note(f"wrote {2 * (len(written) - skipped)} files to {folder}")
    if skipped:
        raise ImageError(f"{skipped} of {len(others)} pictures could not be read; the others are done")


def _targets(folder: Path, others: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Drawing and data file for each picture; :class:`UsageError` rather than overwrite a picture."""
    targets = [(folder / f"{path.stem}.jpg", folder / f"{path.stem}.json") for path in others]
    drawings = [drawing.resolve() for drawing, _ in targets]
    for path, drawing in zip(others, drawings, strict=True):
        if drawings.count(drawing) > 1:
            raise UsageError(f"two of the pictures B are called {path.stem}: match them one at a time")
    refuse_to_overwrite(others, drawings)
    return targets


def refuse_to_overwrite(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Raises :class:`UsageError` where an output is one of the inputs."""
    sources = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in sources:
            raise UsageError(f"the output {path} is also an input: name another file or folder")


def match_video(
    matcher: Matcher,
    reference: Path,
    video: str,
    output: Path | None,
    points: Points | None,
    as_json: bool = False,
) -> None:
    """The reference, encoded once, against every frame: annotated video and a line of JSON each.

    The lines go to ``output`` with the suffix ``.jsonl``; to stdout with ``as_json`` or without
    ``output``.
    """
    if output is not None:
        refuse_to_overwrite([reference, Path(video)], [output, output.with_suffix(".jsonl")])
    picture = read_image(reference)
    _check_inside(points, picture)
    source = open_frames(video)
    features = matcher.encode(picture)
    started, number = time.perf_counter(), 0
    with contextlib.ExitStack() as stack:
        writer = lines = None
        if output is not None:
            writer = stack.enter_context(video_writer(output, source.rate))
            file = stack.enter_context(atomic_path(output.with_suffix(".jsonl")))
            lines = stack.enter_context(file.open("w", encoding="utf-8"))
        progress = stack.enter_context(progress_bar("{task.fields[rate]}"))
        task = progress.add_task("matching", total=source.count or None, rate="")
        for number, frame in enumerate(source.frames, start=1):
            result = matcher.match(features, frame)
            shown = _shown(result, points)
            record = {
                "schema": SCHEMA,
                "frame": number - 1,
                "time_s": round((number - 1) / source.rate, 6),
                "size": list(result.size_b),
            } | match_lists(shown)
            if as_json or lines is None:
                _print_json(record)
            if writer is not None and lines is not None:
                lines.write(json.dumps(record, allow_nan=False) + "\n")
                writer.write(_drawing(picture, frame, shown, points))
            rate = number / (time.perf_counter() - started)
            progress.update(task, advance=1, rate=f"{rate:.1f} frames/s")
    seconds = time.perf_counter() - started
    note(f"{number} frames in {seconds:.1f} s ({number / seconds:.1f} frames/s)")
    if source.count - number > max(COUNT_TOLERANCE, 0.02 * source.count):
        warn(f"{video} says it has {source.count} frames and ended after {number}: it may be truncated")
    if output is not None:
        note(f"wrote {output} and {output.with_suffix('.jsonl')}")


def _shown(result: Correspondences, points: Points | None) -> PointMatches:
    """What is drawn and told: the points asked for, or else what both directions agree on."""
    return result.mutual() if points is None else result.carry(points, from_="a")


def _record(result: Correspondences, shown: PointMatches, points: Points | None) -> dict[str, Any]:
    return to_dict(result) | ({} if points is None else match_lists(shown))


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, allow_nan=False))


def _lines(matches: PointMatches) -> list[str]:
    return [
        f"{a[0]:g},{a[1]:g}\t{b[0]:.2f},{b[1]:.2f}\t{score:.4g}"
        for a, b, score in zip(matches.points_a, matches.points_b, matches.scores, strict=True)
    ]


def _drawing(image_a: Image, image_b: Image, shown: PointMatches, points: Points | None) -> Image:
    if points is None:
        return draw_matches(image_a, image_b, shown, LINES)
    return draw_points(image_a, image_b, shown)


def _check_inside(points: Points | None, image: Image) -> None:
    if points is None:
        return
    height, width = image.shape[:2]
    outside = (points < 0).any(axis=1) | (points > [width - 1, height - 1]).any(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise UsageError(f"the point {x:g},{y:g} lies outside the {width}x{height} picture")
