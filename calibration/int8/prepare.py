"""What has to be there before anything is quantised: ranges, and pairs to measure the loss on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from dccnet.calibration.frames import Sample
from dccnet.calibration.given import choose_questions, left_out, read_frames
from dccnet.calibration.int8.build import Quantiser
from dccnet.calibration.int8.layers import Layer
from dccnet.calibration.int8.observe import observe
from dccnet.calibration.int8.quantise import Target
from dccnet.calibration.int8.table import CalibrationTable, make_table, read_table
from dccnet.calibration.loss import Exam
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.console import note, progress_bar
from dccnet.runtime.matcher import Matcher


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

    Raises :class:`DataError` for a table of another network and for what cannot be
    calibrated with.
    """
    ranges = None if table is None else read_table(table)
    if ranges is not None:
        ranges.check(bundle, str(table))
    size = bundle.manifest.image_size
    sample = None if data is None else read_frames(data, frames, size)
    questions = choose_questions(sample, check, pairs, size)
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
    note(f"calibrated with {left_out(sample)}")
    return make_table(bundle, sample.chosen, histograms)
