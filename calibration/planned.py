"""An export whose layers are INT8, or whose steps are half precision, as a plan has it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dccnet.calibration.apply import apply_plan
from dccnet.calibration.plan import HALF, PlanFile
from dccnet.export.build import export_bundle
from dccnet.export.bundles.folder import check_replaceable
from dccnet.export.outcome import failure
from dccnet.export.verify import MAX_PAIRS, verify
from dccnet.network.conv4d import STACK
from dccnet.network.model import DCCNet
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import NotVerifiedError, UsageError


def export_planned(
    model: DCCNet,
    path: Path,
    pictures: Sequence[Path],
    plan: PlanFile,
    *,
    on_step: Callable[[str], None] = lambda description: None,
    **options: Any,
) -> Bundle:
    """As :func:`~dccnet.export.build.export_bundle` with these ``options``, then changed as ``plan`` says.

    What is not yet changed must agree with PyTorch, or :class:`NotVerifiedError` is raised. Raises
    :class:`DataError` for the plan of another network.
    """
    if options.get("half") and plan.precision == HALF:
        raise UsageError("--plan says which steps are float16: leave --fp16 away")
    check_replaceable(path)
    with tempfile.TemporaryDirectory() as scratch:
        whole = export_bundle(model, Path(scratch) / "bundle", pictures, on_step=on_step, **options)
        assert whole.manifest.verification is not None
        if (problem := failure(whole.manifest.verification)) is not None:
            raise NotVerifiedError(f"nothing was written, because before the plan already {problem}")
        on_step("applying the plan")
        model.lower(STACK)  # what every lowering must agree with
        return apply_plan(
            plan, whole, path, pictures[: MAX_PAIRS + 1], lambda bundle: verify(model, bundle, pictures)
        )
