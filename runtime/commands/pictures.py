"""What ``dcc match`` does with a pair or many pictures. Data to stdout, news to stderr."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image
from dccnet.runtime.console import note, progress_bar, warn
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.drawing.matches import draw_points
from dccnet.runtime.drawing.styles import Style
from dccnet.runtime.errors import ImageError, UsageError
from dccnet.runtime.images import SUFFIXES, read_image, write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.matches import PointMatches
from dccnet.runtime.video.drawing import LINES
from dccnet.runtime.video.references import check_inside
from dccnet.runtime.writers import match_lists, save_correspondences, to_dict

Points = NDArray[np.float64]
"""``(N, 2)`` pixels of picture A."""


def match_pair(
    matcher: Matcher,
    path_a: Path,
    path_b: Path,
    outputs: Sequence[Path],
    points: Points | None,
    as_json: bool,
    style: Style = "lines",
) -> None:
    """A and B: the drawing and data files asked for, and matches or a summary on stdout."""
    refuse_to_overwrite([path_a, path_b], outputs)
    image_a, image_b = read_image(path_a), read_image(path_b)
    _check_points(points, image_a, path_a)
    result = matcher.match(image_a, image_b)
    shown = _shown(result, points)
    for path in outputs:
        if path.suffix.lower() in SUFFIXES:
            write_image(path, _drawing(image_a, image_b, result, points, style))
        else:
            save_correspondences(result, path)
        note(f"wrote {path}")
    if as_json:
        print_json(_record(result, shown, points))
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
    style: Style = "lines",
) -> None:
    """A, encoded once, against each of the others: a line of JSON or text for each.

    A picture that cannot be read is skipped with a warning; in the end that is an :class:`ImageError`.
    """
    image_a = read_image(path_a)
    _check_points(points, image_a, path_a)
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
                write_image(drawing, _drawing(image_a, image_b, result, points, style))
                save_correspondences(result, data)
            if as_json:
                print_json({"image": str(path)} | _record(result, shown, points))
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


def _shown(result: Correspondences, points: Points | None) -> PointMatches:
    """What is drawn and told: the points asked for, or else what both directions agree on."""
    return result.mutual() if points is None else result.carry(points, from_="a")


def _record(result: Correspondences, shown: PointMatches, points: Points | None) -> dict[str, Any]:
    return to_dict(result) | ({} if points is None else match_lists(shown))


def print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, allow_nan=False))


def _lines(matches: PointMatches) -> list[str]:
    return [
        f"{a[0]:g},{a[1]:g}\t{b[0]:.2f},{b[1]:.2f}\t{score:.4g}"
        for a, b, score in zip(matches.points_a, matches.points_b, matches.scores, strict=True)
    ]


def _drawing(
    image_a: Image, image_b: Image, result: Correspondences, points: Points | None, style: Style
) -> Image:
    if points is None:
        return result.draw(image_a, image_b, LINES, style)
    return draw_points(image_a, image_b, result.carry(points, from_="a"))


def _check_points(points: Points | None, image: Image, path: Path) -> None:
    if points is not None:
        check_inside(points, (image.shape[0], image.shape[1]), str(path))
