"""``dcc calibrate --precision fp16``: which steps may be float16 on the given frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.calibration.given import choose_questions, left_out, read_frames
from dccnet.calibration.groups import Level
from dccnet.calibration.half.build import without_headroom, write_halved
from dccnet.calibration.half.halver import Halver
from dccnet.calibration.loss import Exam
from dccnet.calibration.plan import HALF, read_plan
from dccnet.calibration.search import search_and_report
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.console import note, steps
from dccnet.runtime.errors import NotVerifiedError, UsageError
from dccnet.runtime.matcher import Matcher


def calibrate_half(
    bundle: Bundle,
    output: Path,
    *,
    data: str,
    check: str | None,
    frames: int,
    pairs: int,
    budget: float,
    level: Level,
    plan: Path | None,
    report: Path | None,
    as_json: bool,
) -> Bundle:
    """Search for the steps that may be float16 within ``budget``, or take those of ``plan``; write them.

    Raises :class:`DataError` for frames that do not serve and plans of other networks, and
    :class:`NotVerifiedError` where nothing fits.
    """
    halver = Halver.open(bundle)
    sample = read_frames(data, frames, bundle.manifest.image_size)
    questions = choose_questions(sample, check, pairs, bundle.manifest.image_size)
    exam = Exam.of(Matcher.open(bundle, backend="onnxruntime", device="cpu"), questions)
    pixels = [frame.pixels for frame in sample.chosen]
    note(f"measured on {left_out(sample)}")
    if plan is not None:
        chosen = plan_steps(halver, plan)
    else:
        names = [(frame.name, frame.sha256) for frame in sample.chosen]
        chosen = _search(halver, exam, pixels, names, budget, level, report, as_json=as_json)
    with steps("writing", 1) as step:
        step("comparing with the float32 bundle")
        return write_halved(halver, chosen, output, exam, pixels)


def plan_steps(halver: Halver, path: Path) -> tuple[str, ...]:
    """The steps that a plan has in float16. Raises :class:`DataError`."""
    plan = read_plan(path)
    if plan.precision != HALF:
        raise UsageError(f"{path} is a plan for {plan.precision}: leave --precision fp16 away")
    known = {step for group in halver.groups("layer") for step in group.layers}
    plan.check(known, "make a plan with --budget")
    return plan.layers


def _search(
    halver: Halver,
    exam: Exam,
    pixels: Sequence[NDArray[np.uint8]],
    names: Sequence[tuple[str, str]],
    budget: float,
    level: Level,
    report: Path | None,
    *,
    as_json: bool,
) -> tuple[str, ...]:
    barred = without_headroom(halver, level, pixels)
    groups = halver.groups(level)
    if len(barred) == len(groups):
        raise NotVerifiedError(
            "nothing can be float16: on these frames every group could overflow; see dcc info on a bundle "
            "of dcc export --fp16 for what is so large"
        )

    def details(chosen: Sequence[str]) -> dict[str, Any]:
        islands = [group.name for group in groups if not set(group.layers) <= set(chosen)]
        return {
            "precision": HALF,
            "islands": islands,
            "without_headroom": barred,
            "made_from": {n: g.sha256 for n, g in halver.bundle.manifest.graphs.items()},
            "calibrated_on": [{"name": name, "sha256": digest} for name, digest in names],
        }

    plan = search_and_report(halver, exam, level, budget, report, details, barred=barred, as_json=as_json)
    return plan.layers
