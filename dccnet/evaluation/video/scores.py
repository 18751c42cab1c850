"""PCK of joints and J of masks, frame by frame, and their means over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dccnet.evaluation.video.clips import Clip
from dccnet.evaluation.video.trackers import Tracker
from dccnet.runtime.arrays import Mask

ALPHA = 0.2
"""The usual threshold of BADJA, relative to the square root of the mask's area."""
TIMES_S = (1.0, 2.0, 3.0)
"""Seconds after the reference for which tables have a column."""
HALF_WINDOW_S = 0.5
"""A score at a time is the mean over the frames that are at most so far from it."""


@dataclass(frozen=True, slots=True)
class FrameScore:
    """The scores of one method in one frame."""

    method: str
    sequence: str
    frame: str
    """The picture's name."""
    time_s: float
    """Seconds after the reference."""
    points: int
    """Joints of the reference that are annotated in this frame, too; 0 for a frame without joints."""
    hits: int
    """Those that lie at most α · √(area of the frame's mask) from where they belong."""
    jaccard: float | None
    """Intersection over union of carried and true mask, in [0, 1]; None for a frame without a mask."""


@dataclass(frozen=True, slots=True)
class OverTime:
    """A mean over time, in percent: of the frames of each sequence, then of the sequences."""

    overall: float | None
    """All annotated frames; None if there are none."""
    at: tuple[float | None, ...]
    """Around each of :data:`TIMES_S`."""


@dataclass(frozen=True, slots=True)
class MethodScores:
    """The scores of one method."""

    pck: OverTime
    jaccard: OverTime
    sequences: dict[str, tuple[float | None, float | None]]
    """Mean PCK and mean J of each sequence, in percent."""


def score(
    clip: Clip, tracker: Tracker, rate: float, alpha: float, on_frame: Callable[[], None] = lambda: None
) -> list[FrameScore]:
    """The scores of every method of ``tracker`` in every annotated frame of ``clip``.

    ``rate`` is in frames per second. Raises :class:`DccError` for files that cannot be read.
    """
    scores = []
    for number, predictions in enumerate(tracker(clip), start=clip.first + 1):
        truth, joints = clip.mask(number), clip.joints.get(number, {})
        time_s = (number - clip.first) / rate
        common = [index for index, name in enumerate(clip.names) if name in joints]
        for method, found in predictions.items():
            hits = 0
            if common and truth is not None and found.points is not None:
                there = np.stack([joints[clip.names[index]] for index in common])
                distances = np.linalg.norm(found.points[common] - there, axis=1)
                hits = int((distances <= alpha * np.sqrt(np.count_nonzero(truth))).sum())
            overlap = None if truth is None or found.mask is None else jaccard(found.mask, truth)
            name = clip.frames[number].name
            scores.append(FrameScore(method, clip.name, name, time_s, len(common), hits, overlap))
        on_frame()
    return scores


def jaccard(found: Mask, truth: Mask) -> float:
    """Intersection over union of the pixels that are not 0; 1 for two empty masks."""
    a, b = found > 0, truth > 0
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def summarise(scores: Sequence[FrameScore]) -> dict[str, MethodScores]:
    """The means of every method, in the order in which they first occur."""
    return {
        method: _summary([s for s in scores if s.method == method])
        for method in dict.fromkeys(s.method for s in scores)
    }


def _summary(scores: Sequence[FrameScore]) -> MethodScores:
    sequences = dict.fromkeys(s.sequence for s in scores)
    of_each = {name: [s for s in scores if s.sequence == name] for name in sequences}
    return MethodScores(
        OverTime(mean(scores, pck), tuple(at_time(scores, pck, t) for t in TIMES_S)),
        OverTime(mean(scores, overlap), tuple(at_time(scores, overlap, t) for t in TIMES_S)),
        {name: (mean(found, pck), mean(found, overlap)) for name, found in of_each.items()},
    )


Value = Callable[[FrameScore], "float | None"]


def pck(score: FrameScore) -> float | None:
    """Share of correct joints, in percent; None for a frame without joints."""
    return 100 * score.hits / score.points if score.points else None


def overlap(score: FrameScore) -> float | None:
    """J in percent."""
    return None if score.jaccard is None else 100 * score.jaccard


def at_time(
    scores: Sequence[FrameScore], value: Value, time_s: float, half_window_s: float = HALF_WINDOW_S
) -> float | None:
    """:func:`mean` of the frames around a time."""
    return mean([s for s in scores if abs(s.time_s - time_s) <= half_window_s], value)


def mean(scores: Iterable[FrameScore], value: Value) -> float | None:
    """The mean over the frames of each sequence, then over the sequences; None if no frame has a value."""
    of_each: dict[str, list[float]] = {}
    for s in scores:
        found = value(s)
        if found is not None:
            of_each.setdefault(s.sequence, []).append(found)
    return float(np.mean([np.mean(values) for values in of_each.values()])) if of_each else None
