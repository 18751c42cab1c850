"""What changing each group of layers costs, alone, and what it gains."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dccnet.calibration.candidates import Variants
from dccnet.calibration.groups import Group
from dccnet.calibration.loss import Exam, Question
from dccnet.runtime.bundle import Agreement
from dccnet.runtime.matcher import Matcher

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One group changed and all others as they were."""

    group: Group
    agreement: Agreement
    seconds_saved: float
    """Of one pair in ONNX Runtime on this CPU; negative: it became slower."""


def measure(variants: Variants, group: Group, exam: Exam) -> Sensitivity:
    """The group changed alone, against nothing changed."""
    with variants.matcher(()) as before, variants.matcher(group.layers) as after:
        return Sensitivity(group, exam.mark(after), seconds_saved(before, after, exam.questions[0]))


def seconds_saved(before: Matcher, after: Matcher, question: Question) -> float:
    """Of one pair, pictures to matches: the difference of two medians, measured in turns."""
    seconds: list[list[float]] = [[], []]
    for turn in range(ROUNDS + 1):
        for matcher, times in zip((before, after), seconds, strict=True):
            started = time.perf_counter()
            matcher.match(question.a, question.b)
            if turn:  # the first warms up
                times.append(time.perf_counter() - started)
    return float(np.median(seconds[0]) - np.median(seconds[1]))
