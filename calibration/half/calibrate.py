"""``dcc calibrate --precision fp16``: a half-precision bundle, by a search on frames or by a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dccnet.calibration.agreement import AgreementTest, describe_agreement
from dccnet.calibration.frames import Frame, Sample
from dccnet.calibration.half.build import groups_without_headroom, write_half_bundle
from dccnet.calibration.half.candidates import HalfPrecisionCandidates
from dccnet.calibration.inputs import choose_pairs, describe_sample, frames_of, read_frames
from dccnet.calibration.plan_file import HALF, PlanFile
from dccnet.calibration.report import search_and_report
from dccnet.calibration.settings import HalfSettings, SearchSettings
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.console import steps
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.messages import note


def calibrate_half(bundle: Bundle, output: Path, settings: HalfSettings) -> Bundle:
    """Write ``bundle`` to ``output`` with steps in float16: those of a plan, or those found by a search.

    Headroom is measured on the frames of ``data`` or, for a plan without them, on the pictures that
    agreement is measured on. Raises :class:`DataError` for unusable frames and for plans of other networks,
    and :class:`NotVerifiedError` where no step can be float16.
    """
    candidates = HalfPrecisionCandidates.open(bundle)
    if settings.plan is not None:
        check_plan(settings.plan, candidates)
    size = bundle.manifest.image_size
    sample = read_frames(settings.pictures, size)
    pairs = choose_pairs(sample, settings.pictures, size)
    test = AgreementTest.prepare(Matcher.open(bundle, backend="onnxruntime", device="cpu"), pairs)
    if sample is None:
        frames = frames_of(pairs, size)
    else:
        frames = [frame.pixels for frame in sample.chosen]
        note(f"measured on {describe_sample(sample)}")
    if settings.plan is not None:
        chosen = settings.plan.layers
    else:
        assert sample is not None and settings.search is not None
        chosen = _search(candidates, test, sample, settings.search)
    with steps("writing", 1) as step:
        step("comparing with the float32 bundle")
        written = write_half_bundle(candidates, chosen, output, test, frames)
    note(_summary(written))
    return written


def _summary(bundle: Bundle) -> str:
    islands = bundle.manifest.islands
    assert islands is not None
    whole = ", ".join(islands.whole) or "nothing"
    return (
        f"{bundle.path}: {len(islands.half)} steps in float16, {whole} in float32; headroom "
        f"{islands.ranges.headroom:.3g} times; {describe_agreement(islands.agreement)}"
    )


def check_plan(plan: PlanFile, candidates: HalfPrecisionCandidates) -> None:
    """Raise :class:`DataError` for a plan with steps that ``candidates`` do not have."""
    known = {step for group in candidates.groups("layer") for step in group.layers}
    plan.check(known, "make a plan with --budget")


def _search(
    candidates: HalfPrecisionCandidates, test: AgreementTest, sample: Sample, settings: SearchSettings
) -> tuple[str, ...]:
    barred = groups_without_headroom(candidates, settings.level, [frame.pixels for frame in sample.chosen])
    groups = candidates.groups(settings.level)
    if len(barred) == len(groups):
        raise NotVerifiedError(
            "nothing can be float16: on these frames every group could overflow; dcc info on a bundle of "
            "dcc export --fp16 lists the largest tensors"
        )

    def details(chosen: Sequence[str]) -> dict[str, Any]:
        return {
            "precision": HALF,
            "islands": [group.name for group in groups if not set(group.layers) <= set(chosen)],
            "without_headroom": barred,
            "made_from": {n: g.sha256 for n, g in candidates.bundle.manifest.graphs.items()},
            "calibrated_on": [_record(frame) for frame in sample.chosen],
        }

    return search_and_report(candidates, test, settings, details, barred).layers


def _record(frame: Frame) -> dict[str, str]:
    return {"name": frame.name, "sha256": frame.sha256}
