"""A plan, applied to a bundle that was just exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dccnet.calibration.frames import Frame
from dccnet.calibration.half.build import write_halved
from dccnet.calibration.half.halver import Halver
from dccnet.calibration.int8.build import Quantiser, open_layers, write_quantised
from dccnet.calibration.int8.layers import parts_of
from dccnet.calibration.int8.methods import METHODS
from dccnet.calibration.int8.quantise import TARGETS, Target
from dccnet.calibration.int8.table import table_from
from dccnet.calibration.loss import Exam, questions_from_frames
from dccnet.calibration.plan import HALF, PlanFile
from dccnet.runtime.bundle import Bundle, Verification
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import sha256_of
from dccnet.runtime.geometry import Size, resize_uint8
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher


def apply_plan(
    plan: PlanFile,
    bundle: Bundle,
    path: Path,
    pictures: Sequence[Path],
    verify: Callable[[Bundle], Verification],
) -> Bundle:
    """Write ``bundle`` to ``path`` as ``plan`` has it, compared with itself on neighbouring ``pictures``.

    ``verify`` holds a half-precision bundle against the network itself. Raises :class:`DataError` where the
    plan is of another network, and what writing raises.
    """
    frames = [_frame(picture, bundle.manifest.image_size) for picture in pictures]
    before = Matcher.open(bundle, backend="onnxruntime", device="cpu")
    exam = Exam.of(before, questions_from_frames(frames, len(frames)))
    if plan.precision == HALF:
        halver = Halver.open(bundle)
        known = {step for group in halver.groups("layer") for step in group.layers}
        plan.check(known, "make a plan with --budget")
        return write_halved(halver, plan.layers, path, exam, [frame.pixels for frame in frames], verify)
    return write_quantised(_quantiser(plan, bundle), plan.layers, path, exam)


def _quantiser(plan: PlanFile, bundle: Bundle) -> Quantiser:
    targets: dict[str | None, Target] = {target: target for target in TARGETS}
    try:
        if plan.table is None or plan.method not in METHODS:
            raise ValueError("it has no ranges")
        table, target = table_from(plan.table), targets[plan.target]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{plan.path} is no plan, or was edited ({error}): make one with --budget"
        ) from error
    for graph, digest in table.graphs.items():
        if bundle.manifest.graphs[graph].sha256 != digest:
            raise DataError(
                f"{plan.path} was made with another {graph} than this export writes (of another network, "
                "or with other options or versions): export without it, then use it with dcc calibrate "
                "--plan, which needs frames"
            )
    models, layers = open_layers(bundle, parts_of(plan.layers))
    plan.check({layer.name for layer in layers}, "make a plan with --budget")
    return Quantiser(bundle, layers, table, plan.method, target, models)


def _frame(picture: Path, size: Size) -> Frame:
    pixels = resize_uint8(read_image(picture), size)
    return Frame(str(picture), sha256_of(pixels.tobytes()), pixels)
