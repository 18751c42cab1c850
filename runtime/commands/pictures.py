"""``dcc match`` with a pair or many pictures. Data goes to stdout, messages to stderr."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image, Points
from dccnet.runtime.checks import check_inside
from dccnet.runtime.confidence import VISIBLE
from dccnet.runtime.console import note, progress_bar, warn
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.drawing.matches import LINES, draw_matches, draw_points
from dccnet.runtime.drawing.styles import Style
from dccnet.runtime.drawing.vector import VECTORS, write_lines
from dccnet.runtime.errors import ImageError, UsageError
from dccnet.runtime.features import Features
from dccnet.runtime.images import SUFFIXES, read_image, write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.mirroring import MIRRORED
from dccnet.runtime.point_matches import PointMatches
from dccnet.runtime.video.pipeline import Background, closing_all
from dccnet.runtime.writers import match_lists, save_correspondences, to_dict


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a pair."""

    result: Correspondences
    points: Points | None

    @cached_property
    def matches(self) -> PointMatches:
        """Those of the requested points, or otherwise the mutual ones; computed when first asked for."""
        return self.result.mutual() if self.points is None else self.result.carry(self.points, from_="a")


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What is printed and drawn of each pair."""

    points: Points | None
    """Points of A to transfer; None: the mutual matches."""
    as_json: bool
    style: Style = "lines"
    least: float | None = None
    """The lowest confidence of a match; None: all are reported."""

    def check_points(self, image_a: Image, path_a: Path) -> None:
        """Raises :class:`UsageError` for a point outside A."""
        if self.points is not None:
            check_inside(self.points, (image_a.shape[0], image_a.shape[1]), str(path_a))

    def found(self, result: Correspondences) -> Found:
        """``result`` without matches that are not confident enough."""
        return Found(result if self.least is None else result.at_least(self.least), self.points)

    def visible(self, matches: PointMatches) -> NDArray[np.bool_]:
        """``(N,)``: which requested points are confident enough; all, from a bundle without confidence."""
        least = VISIBLE if self.least is None else self.least
        return matches.confident(None if matches.confidence is None else least)

    def record(self, found: Found) -> dict[str, Any]:
        """Plain values for ``--json``."""
        record = to_dict(found.result)
        if self.points is not None:
            record |= match_lists(found.matches)
            if found.matches.confidence is not None:
                record["visible"] = self.visible(found.matches).tolist()
        return record

    def draw(self, image_a: Image, image_b: Image, found: Found) -> Image:
        """The pair with its matches; both pictures are those that were matched."""
        if self.points is not None:
            return draw_points(image_a, image_b, found.matches, self.visible(found.matches))
        if self.style == "lines":
            return draw_matches(image_a, image_b, found.matches)
        return found.result.draw(image_a, image_b, style=self.style)


OpenMatcher = Callable[[], Matcher]
"""Opens the matcher when the pictures have been read: what is wrong with them is told at once."""


def match_pair(
    open_matcher: OpenMatcher, path_a: Path, path_b: Path, outputs: Sequence[Path], report: Report
) -> None:
    """Match A and B: write drawings and data files, print the matches or a summary."""
    refuse_to_overwrite([path_a, path_b], outputs)
    image_a, image_b = read_image(path_a), read_image(path_b)
    report.check_points(image_a, path_a)
    found = report.found(open_matcher().match(image_a, image_b))
    if found.result.mirrored:
        note(MIRRORED)
    for path in outputs:
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            write_image(path, report.draw(image_a, image_b, found))
        elif suffix in VECTORS:
            limit = LINES if report.points is None else len(report.points)
            write_lines(path, image_a, image_b, found.matches, limit)
        else:
            save_correspondences(found.result, path)
        note(f"wrote {path}")
    if report.as_json:
        print_json(report.record(found))
    elif report.points is not None:
        print(*_lines(found.matches), sep="\n")
    else:
        matches, cells = found.matches, found.result.index_a.size
        median = np.median(matches.scores) if len(matches) else 0
        print(
            f"{len(matches)} of {cells} cells match mutually, median score {median:.3g}"
            + _confidence_text(matches, report)
        )


def match_many(
    open_matcher: OpenMatcher, path_a: Path, others: Sequence[Path], folder: Path | None, report: Report
) -> None:
    """Match A, which is encoded once, with each of ``others``: a line of JSON or text for each.

    With ``folder``, also write a drawing and a data file for each. A picture that cannot be read is skipped
    with a warning and raises :class:`ImageError` after all others are done. Pictures are read, and matched,
    while earlier ones are drawn and written.
    """
    image_a = read_image(path_a)
    report.check_points(image_a, path_a)
    skipped = 0
    targets = [] if folder is None else _targets(folder, others)
    matcher = open_matcher()
    read = Background(_read(others))
    matched = Background(_matched(matcher, matcher.encode(image_a), read))
    with progress_bar() as progress, closing_all([read, matched]):
        done = progress.track(matched, len(others), description="matching")
        for number, (path, one) in enumerate(zip(others, done, strict=True)):
            if isinstance(one, ImageError):
                warn(f"{one}; skipped")
                skipped += 1
                continue
            image_b, result = one
            found = report.found(result)
            if folder is not None:
                drawing, data = targets[number]
                write_image(drawing, report.draw(image_a, image_b, found))
                save_correspondences(found.result, data)
            if report.as_json:
                print_json({"image": str(path)} | report.record(found))
            elif report.points is not None:
                for line in _lines(found.matches):
                    print(f"{path}\t{line}")
            else:
                how = "\tA mirrored" if found.result.mirrored else ""
                print(f"{path}\t{len(found.matches)} mutual matches{how}")
    if folder is not None:
        note(f"wrote {2 * (len(targets) - skipped)} files to {folder}")
    if skipped:
        raise ImageError(f"{skipped} of {len(others)} pictures could not be read; the others are done")


def _read(paths: Sequence[Path]) -> Iterator[Image | ImageError]:
    for path in paths:
        try:
            yield read_image(path)
        except ImageError as error:
            yield error


def _matched(
    matcher: Matcher, features: Features, pictures: Iterable[Image | ImageError]
) -> Iterator[tuple[Image, Correspondences] | ImageError]:
    """Each picture, and its matches with the picture of ``features``."""
    for picture in pictures:
        yield picture if isinstance(picture, ImageError) else (picture, matcher.match(features, picture))


def _targets(folder: Path, others: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Drawing and data file of each picture. Raises :class:`UsageError` rather than overwrite one."""
    targets = [(folder / f"{path.stem}.jpg", folder / f"{path.stem}.json") for path in others]
    place = folder.resolve()
    drawings = [place / drawing.name for drawing, _ in targets]
    count = Counter(drawings)
    for path, drawing in zip(others, drawings, strict=True):
        if count[drawing] > 1:
            raise UsageError(f"two of the pictures B are called {path.stem}: match them one at a time")
    refuse_to_overwrite(others, drawings)
    return targets


def refuse_to_overwrite(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Raises :class:`UsageError` where an output is one of the inputs."""
    sources = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in sources:
            raise UsageError(f"the output {path} is also an input: name another file or folder")


def print_json(record: dict[str, Any]) -> None:
    """Print one line of JSON to stdout."""
    print(json.dumps(record, allow_nan=False))


def _lines(matches: PointMatches) -> list[str]:
    """A line of text for each match: (x, y) in A, (x, y) in B, score and, if there is any, confidence."""
    lines = [
        f"{a[0]:g},{a[1]:g}\t{b[0]:.2f},{b[1]:.2f}\t{score:.4g}"
        for a, b, score in zip(matches.points_a, matches.points_b, matches.scores, strict=True)
    ]
    if matches.confidence is None:
        return lines
    return [f"{line}\t{sure:.3f}" for line, sure in zip(lines, matches.confidence, strict=True)]


def _confidence_text(matches: PointMatches, report: Report) -> str:
    if matches.confidence is None or not len(matches):
        return ""
    least = "" if report.least is None else f", all at least {report.least:g}"
    return f", median confidence {np.median(matches.confidence):.2f}{least}"
