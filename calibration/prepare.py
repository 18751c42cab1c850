"""What has to be there before anything is quantised: frames, ranges, and pairs to measure the loss on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from calibration.build import Quantiser
from calibration.frames import Sample, sample_frames
from calibration.layers import Layer
from calibration.loss import Exam, Question, find_questions, questions_from_frames
from calibration.observe import observe
from calibration.quantise import Target
from calibration.table import CalibrationTable, make_table, read_table
from runtime.bundle import Bundle
from runtime.console import note, progress_bar, warn
from runtime.errors import DataError
from runtime.geometry import Size
from runtime.matcher import Matcher


def prepare(
    bundle: Bundle,
    models: Mapping[str, onnx.ModelProto],
    layers: Sequence[Layer],
    method: str,
    target: Target,
    *,
    data: str | None,
    table: Path | None,
    check: str | None,
    frames: int,
    pairs: int,
) -> tuple[Quantiser, Exam]:
    """Calibrate ``layers`` with ``data``, or take the ranges of ``table``; match the pairs of ``check``, or
    of what is left of ``data``, with the bundle as it is.

    Raises :class:`DataError` for a table of another network and for what cannot be calibrated with.
    """
    ranges = None if table is None else read_table(table)
    if ranges is not None:
        ranges.check(bundle, str(table))
    size = bundle.manifest.image_size
    sample = None if data is None else sample_frames(data, frames, size)
    for problem in sample.unreadable if sample is not None else ():
        warn(f"{problem}; skipped")
    questions = _questions(sample, check, pairs, size)
    if ranges is None:
        assert sample is not None
        ranges = _calibrate(bundle, layers, sample)
    before = Matcher.open(bundle, backend="onnxruntime", device="cpu")
    quantiser = Quantiser(bundle, tuple(layers), ranges, method, target, dict(models))
    return quantiser, Exam.of(before, questions)


def _calibrate(bundle: Bundle, layers: Sequence[Layer], sample: Sample) -> CalibrationTable:
    with progress_bar() as progress:
        task = progress.add_task("calibrating", total=len(sample.chosen))
        histograms = observe(bundle, layers, sample.chosen, lambda: progress.advance(task))
    text = f"calibrated with {len(sample.chosen)} frames"
    if sample.duplicates:
        text += f"; {sample.duplicates} near-duplicates left out"
    if sample.unreadable:
        text += f"; {len(sample.unreadable)} that cannot be read left out"
    note(text)
    return make_table(bundle, sample.chosen, histograms)


def _questions(sample: Sample | None, check: str | None, limit: int, size: Size) -> list[Question]:
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
