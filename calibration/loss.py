"""What a change of a network costs: its matches on pictures, against those from before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dccnet.calibration.frames import Frame, sample_frames, spread
from dccnet.evaluation.pairs import Pair, Points, read_pairs
from dccnet.evaluation.pck import DESCRIPTIONS, carry_keypoints, pair_pck
from dccnet.runtime.bundle import Agreement
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size, index_pixels
from dccnet.runtime.images import Image
from dccnet.runtime.matcher import Matcher

ALPHA = 0.1
PROTOCOL = f"PCK@{ALPHA:g}, {DESCRIPTIONS['bbox']}"


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A pair of pictures to be matched, with keypoints or without."""

    a: Image
    b: Image
    points_a: Points | None = None
    points_b: Points | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a network says of one pair."""

    index_a: NDArray[np.int64]  # (h, w)
    index_b: NDArray[np.int64]
    pck: float | None
    """In [0, 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """Pairs, and what the network says of them before anything is quantised."""

    questions: Sequence[Question]
    answers: Sequence[Answer]

    @classmethod
    def of(cls, matcher: Matcher, questions: Sequence[Question]) -> Exam:
        return cls(questions, ask(matcher, questions))

    def mark(self, matcher: Matcher) -> Agreement:
        """How far another network's answers agree with these."""
        return compare(ask(matcher, self.questions), self.answers, matcher.manifest.image_size)


def ask(matcher: Matcher, questions: Sequence[Question]) -> list[Answer]:
    """The network's answers; a picture in several pairs is encoded once."""
    results = matcher.match_many((question.a, question.b) for question in questions)
    return [_answer(question, result) for question, result in zip(questions, results, strict=True)]


def compare(found: Sequence[Answer], reference: Sequence[Answer], size: Size) -> Agreement:
    """``size`` is (height, width) of the network's frames, in whose pixels displacement is measured."""
    changed, moved = [], []
    for answer, true in zip(found, reference, strict=True):
        grid: Size = (true.index_a.shape[0], true.index_a.shape[1])
        for index, before in ((answer.index_a, true.index_a), (answer.index_b, true.index_b)):
            steps = index_pixels(index, grid, size) - index_pixels(before, grid, size)
            changed.append(float((index != before).mean()))
            moved.append(float(np.linalg.norm(steps, axis=-1).mean()))
    return Agreement(
        pairs=len(reference),
        changed_cells=float(np.mean(changed)),
        displacement=float(np.mean(moved)),
        pck=_mean_pck(found),
        reference_pck=_mean_pck(reference),
    )


def cost(agreement: Agreement) -> float:
    """What a budget is measured in: points of PCK where there are keypoints, else % of changed matches."""
    if agreement.pck is not None and agreement.reference_pck is not None:
        return agreement.reference_pck - agreement.pck
    return 100 * agreement.changed_cells


def unit(agreement: Agreement) -> str:
    return "points of PCK" if agreement.pck is not None else "% of changed matches"


def questions_from_list(path: Path, limit: int) -> list[Question]:
    """Up to ``limit`` pairs of a list, evenly spread over it."""
    pairs = read_pairs(path)
    chosen = [pairs[place] for place in spread(len(pairs), limit)]
    images = {p.key: p for pair in chosen for p in (pair.source, pair.target)}
    loaded = {key: picture.load() for key, picture in images.items()}
    return [_question(pair, loaded) for pair in chosen]


def questions_from_frames(frames: Sequence[Frame], limit: int) -> list[Question]:
    """Neighbouring frames as pairs, the last with the first."""
    pixels = [frame.pixels for frame in frames[: limit + 1]]
    if len(pixels) < 2:
        return []
    return [Question(a, b) for a, b in zip(pixels, [*pixels[1:], pixels[0]], strict=True)][:limit]


def find_questions(check: str, limit: int, size: Size) -> list[Question]:
    """Pairs of a ``.csv`` list, or neighbours among the frames of anything else that holds frames."""
    if check.lower().endswith(".csv"):
        return questions_from_list(Path(check), limit)
    return questions_from_frames(sample_frames(check, limit + 1, size).chosen, limit)


def _question(pair: Pair, loaded: dict[str, Image]) -> Question:
    return Question(
        loaded[pair.source.key], loaded[pair.target.key], pair.source_points, pair.target_points
    )


def _answer(question: Question, result: Correspondences) -> Answer:
    pck = None
    if question.points_a is not None and question.points_b is not None:
        carried = carry_keypoints(result, question.points_b, "bbox")
        pck = pair_pck(carried, question.points_a, result.size_a, ALPHA, "bbox")
    return Answer(result.index_a, result.index_b, pck)


def _mean_pck(answers: Sequence[Answer]) -> float | None:
    scores = [answer.pck for answer in answers if answer.pck is not None]
    return 100 * float(np.mean(scores)) if scores else None
