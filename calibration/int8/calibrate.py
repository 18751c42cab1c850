"""``dcc calibrate``: an INT8 bundle, with ranges from frames, a table or a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from dccnet.calibration.agreement import AgreementTest, describe_agreement
from dccnet.calibration.frames import Sample
from dccnet.calibration.inputs import choose_pairs, describe_sample, read_frames
from dccnet.calibration.int8.build import write_int8_bundle
from dccnet.calibration.int8.candidates import Int8Candidates, open_layers
from dccnet.calibration.int8.layers import BACKBONE, Layer, parts_of
from dccnet.calibration.int8.observe import observe
from dccnet.calibration.int8.table import CalibrationTable, make_table, read_table, table_from
from dccnet.calibration.plan_file import PlanFile
from dccnet.calibration.report import search_and_report
from dccnet.calibration.settings import Int8Settings
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.console import progress_bar
from dccnet.runtime.errors import DataError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.messages import note


def calibrate_int8(bundle: Bundle, output: Path, settings: Int8Settings) -> Bundle:
    """Write ``bundle`` to ``output`` with layers in INT8: all, those of a plan, or those found by a search.

    Raises :class:`DataError` for unusable frames and for tables and plans of other networks,
    :class:`BundleError` and :class:`UsageError` for bundles that cannot be quantised as requested, and
    :class:`NotVerifiedError` where nothing fits the budget.
    """
    plan = settings.plan
    parts = dict.fromkeys((BACKBONE, *settings.include, *(parts_of(plan.layers) if plan else ())))
    models, layers = open_layers(bundle, tuple(parts), depthwise=settings.depthwise)
    known = {layer.name for layer in layers}
    chosen = known
    if plan is not None:
        plan.check(known, "make a plan with --budget, or remove --no-depthwise")
        chosen = set(plan.layers)
    candidates, test = _measure(bundle, models, layers, settings)
    if settings.search is not None:
        found = search_and_report(candidates, test, settings.search, candidates.plan_details)
        chosen = set(found.layers)
    written = write_int8_bundle(candidates, chosen, output, test)
    note(_summary(written, len(known)))
    return written


def _summary(bundle: Bundle, candidates: int) -> str:
    calibration = bundle.manifest.calibration
    assert calibration is not None
    return (
        f"{bundle.path}: {len(calibration.layers)} of {candidates} layers in INT8; "
        f"{describe_agreement(calibration.agreement)}"
    )


def _measure(
    bundle: Bundle, models: Mapping[str, onnx.ModelProto], layers: Sequence[Layer], settings: Int8Settings
) -> tuple[Int8Candidates, AgreementTest]:
    """Ranges for ``layers``, and the matches of the unchanged bundle."""
    size = bundle.manifest.image_size
    table = _given_table(bundle, settings)
    sample = read_frames(settings.pictures, size)
    pairs = choose_pairs(sample, settings.pictures, size)
    if table is None:
        assert sample is not None
        table = _calibrate(bundle, layers, sample)
    candidates = Int8Candidates(
        bundle, tuple(layers), table, settings.method, settings.target, dict(models)
    )
    before = Matcher.open(bundle, backend="onnxruntime", device="cpu")
    return candidates, AgreementTest.prepare(before, pairs)


def _given_table(bundle: Bundle, settings: Int8Settings) -> CalibrationTable | None:
    """The table that ``settings`` name, or that of the plan; None where ranges are to be measured."""
    if settings.table is not None:
        table = read_table(settings.table)
        table.check(bundle, str(settings.table))
    elif settings.plan is not None and settings.pictures.data is None:
        table = _plan_table(settings.plan)
        table.check(bundle, f"the table in {settings.plan.path}")
    else:
        return None
    return table


def _plan_table(plan: PlanFile) -> CalibrationTable:
    try:
        if plan.table is None:
            raise ValueError("it has no ranges")
        return table_from(plan.table, "table")
    except ValueError as error:
        raise DataError(
            f"{plan.path} cannot be applied without frames ({error}): name some with --data"
        ) from error


def _calibrate(bundle: Bundle, layers: Sequence[Layer], sample: Sample) -> CalibrationTable:
    with progress_bar() as progress:
        task = progress.add_task("calibrating", total=len(sample.chosen))
        histograms = observe(bundle, layers, sample.chosen, lambda: progress.advance(task))
    note(f"calibrated with {describe_sample(sample)}")
    return make_table(bundle, sample.chosen, histograms)
