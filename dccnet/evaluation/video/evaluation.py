"""``dcc eval --benchmark video``: runs all trackers, prints a table and writes files."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dccnet.evaluation.models import backend_of_bundle, graphs_digest
from dccnet.evaluation.video.clips import Clip
from dccnet.evaluation.video.curves import curves
from dccnet.evaluation.video.scores import (
    HALF_WINDOW_S,
    TIMES_S,
    FrameScore,
    MethodScores,
    OverTime,
    score,
    summarise,
)
from dccnet.evaluation.video.trackers import (
    Tracker,
    at_rest,
    from_frame_to_frame,
    from_reference,
    lucas_kanade,
)
from dccnet.runtime.errors import UsageError
from dccnet.runtime.files import write_text
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import find_model
from dccnet.runtime.selection import BackendChoice

SCHEMA = 1
RESULTS, FRAMES, CURVES = "results.json", "frames.csv", "curves.svg"


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """What scores depend on besides the frames."""

    alpha: float
    rate: float
    """Frames per second."""


@dataclass(frozen=True, slots=True)
class VideoResults:
    """The scores of one model's methods, and of those that need no network, on all clips."""

    model: str
    model_sha256: str
    backend: str
    protocol: str
    settings: VideoSettings
    data_sha256: str
    methods: dict[str, MethodScores]
    frames: tuple[FrameScore, ...]


def protocol(settings: VideoSettings) -> str:
    """The protocol in words."""
    return (
        "the first annotated frame to all later ones; PCK: joints within "
        f"{settings.alpha:g}·√(area of the frame's mask); J: intersection over union of masks; mean over "
        f"the frames of a sequence, then over sequences; at a time: frames at most {HALF_WINDOW_S:g} s "
        f"away, {settings.rate:g} frames/s"
    )


def open_matcher(
    model: Path, choice: BackendChoice, refine: bool | None, views: int, on_note: Callable[[str], None]
) -> Matcher:
    """Open a bundle; ``refine`` and ``views`` are those of ``Matcher.open``.

    Raises :class:`UsageError` for a checkpoint, which cannot be run on a video.
    """
    if find_model(model, on_note).is_file():
        raise UsageError(
            f"{model} is no bundle, and only bundles run on video: dcc export {model} -o BUNDLE"
        )
    if choice.backend == "pytorch":
        raise UsageError("videos are matched with bundles: remove --backend pytorch")
    return Matcher.open(model, **choice._asdict(), refine=refine, views=views, on_note=on_note)


def run_without_network(
    clips: Sequence[Clip], settings: VideoSettings, on_frame: Callable[[], None]
) -> list[FrameScore]:
    """The scores of the baselines."""
    return _run(clips, (lucas_kanade, at_rest), settings, on_frame)


def run_matcher(
    matcher: Matcher, clips: Sequence[Clip], settings: VideoSettings, on_frame: Callable[[], None]
) -> list[FrameScore]:
    """The scores of the ways to carry by a network's matches."""
    return _run(clips, (from_reference(matcher), from_frame_to_frame(matcher)), settings, on_frame)


def _run(
    clips: Sequence[Clip],
    trackers: Sequence[Tracker],
    settings: VideoSettings,
    on_frame: Callable[[], None],
) -> list[FrameScore]:
    return [
        found
        for tracker in trackers
        for clip in clips
        for found in score(clip, tracker, settings.rate, settings.alpha, on_frame)
    ]


def results(
    model: Path, matcher: Matcher, settings: VideoSettings, data_sha256: str, scores: Sequence[FrameScore]
) -> VideoResults:
    """``scores`` are those of the model and of the baselines."""
    return VideoResults(
        str(model),
        graphs_digest(matcher.manifest),
        backend_of_bundle(matcher),
        protocol(settings),
        settings,
        data_sha256,
        summarise(scores),
        tuple(scores),
    )


def to_dict(found: VideoResults) -> dict[str, Any]:
    """Plain values for JSON, without those of single frames."""
    values = dataclasses.asdict(found)
    del values["frames"]
    return {"schema": SCHEMA, "benchmark": "video", "times_s": TIMES_S} | values


def write(folder: Path, found: VideoResults) -> list[Path]:
    """Write scores as JSON, those of every frame as CSV, and curves; each atomically. Returns the paths."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["method", "sequence", "frame", "seconds", "points", "hits", "jaccard"])
    for s in found.frames:
        overlap = "" if s.jaccard is None else f"{s.jaccard:.4f}"
        table.writerow([s.method, s.sequence, s.frame, f"{s.time_s:.4f}", s.points, s.hits, overlap])
    contents = {
        RESULTS: json.dumps(to_dict(found), indent=2, allow_nan=False) + "\n",
        FRAMES: text.getvalue(),
        CURVES: curves(found.frames, f"PCK: joints within {found.settings.alpha:g}·√area, %"),
    }
    for name, content in contents.items():
        write_text(folder / name, content)
    return [folder / name for name in contents]


def table(found: Sequence[VideoResults]) -> Group:
    """One row for each method of each model, and the protocol."""
    sequences = dict.fromkeys(s.sequence for result in found for s in result.frames)
    shown = Table(title=f"video: {', '.join(sequences)}; in %", title_justify="left")
    shown.add_column("method")
    for name in ("PCK", "J"):
        for column in (f"{name}, all", *(f"{time_s:g} s" for time_s in TIMES_S)):
            shown.add_column(column, justify="right")
    for result in found:
        shown.add_section()
        shown.add_row(f"{result.model}, run by {result.backend}", style="bold")
        for method, scores in result.methods.items():
            shown.add_row(f"  {method}", *_cells(scores.pck), *_cells(scores.jaccard))
    return Group(shown, Text(f"protocol: {found[0].protocol}", style="italic"))


def _cells(scores: OverTime) -> list[str]:
    return ["" if value is None else f"{value:.1f}" for value in (scores.overall, *scores.at)]
