"""What a command was given to work with: frames to calibrate with, and pairs to measure the loss on."""

from __future__ import annotations

from dccnet.calibration.frames import Sample, sample_frames
from dccnet.calibration.loss import Question, find_questions, questions_from_frames
from dccnet.runtime.console import warn
from dccnet.runtime.errors import DataError
from dccnet.runtime.geometry import Size


def read_frames(data: str, count: int, size: Size) -> Sample:
    """As :func:`~dccnet.calibration.frames.sample_frames`; says which pictures cannot be read."""
    sample = sample_frames(data, count, size)
    for problem in sample.unreadable:
        warn(f"{problem}; skipped")
    return sample


def left_out(sample: Sample) -> str:
    """How many frames there are and were, for people."""
    text = f"{len(sample.chosen)} frames"
    if sample.duplicates:
        text += f"; {sample.duplicates} near-duplicates left out"
    if sample.unreadable:
        text += f"; {len(sample.unreadable)} that cannot be read left out"
    return text


def choose_questions(sample: Sample | None, check: str | None, limit: int, size: Size) -> list[Question]:
    """Up to ``limit`` pairs of ``check``, or of the frames that ``sample`` has left over.

    Raises :class:`DataError` where there are not two frames to match.
    """
    if check is not None:
        questions = find_questions(check, limit, size)
        if not questions:
            raise DataError(f"--check {check} has no two different frames to match")
        return questions
    assert sample is not None
    questions = questions_from_frames(sample.others, limit)
    if not questions:
        warn(
            "too few frames are left to measure the loss on: it is measured on those that were calibrated "
            "with, and is larger on others; name some with --check"
        )
        questions = questions_from_frames(sample.chosen, limit)
    if not questions:
        raise DataError("one frame is too little to measure the loss on: give more with --data or --check")
    return questions
