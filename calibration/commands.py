"""``dcc calibrate``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dccnet.runtime.bundle import Agreement, Bundle


@click.command("calibrate")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="DIR|LIST|VIDEO",
    help="Frames like those that will be matched: a folder, a glob, a video, a .txt of paths or a .csv of "
    "pairs.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle to write (a folder)."
)
@click.option(
    "--precision",
    type=click.Choice(["int8", "fp16"]),
    default="int8",
    show_default=True,
    help="fp16: find out which steps must stay float32 on these frames, and put all others into half "
    "precision.",
)
@click.option(
    "--method",
    type=click.Choice(["minmax", "entropy", "percentile", "mse"]),
    default="mse",
    show_default=True,
    help="How much of the rare extremes INT8 may cut off.",
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="How many frames to calibrate with.",
)
@click.option(
    "--target",
    type=click.Choice(["tensorrt", "cpu"]),
    default="tensorrt",
    show_default=True,
    help="What the graphs are laid out for: engines on GPUs, or ONNX Runtime on CPUs.",
)
@click.option(
    "--include",
    multiple=True,
    type=click.Choice(["context", "consensus"]),
    help="Beside the backbone: the context encoder's convolution; the 4D convolutions (of --conv4d stack).",
)
@click.option(
    "--no-depthwise",
    is_flag=True,
    help="Leave depthwise convolutions floating: TensorRT-RTX makes INT8 ones several times as large.",
)
@click.option(
    "--fp16", "--half", "half", is_flag=True, help="Insist on half precision for the rest: BUNDLE has it."
)
@click.option(
    "--table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Calibration table of an earlier run, in place of calibrating with --data.",
)
@click.option(
    "--plan",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What to change, from an earlier run with --budget and --report.",
)
@click.option(
    "--budget",
    type=click.FloatRange(0),
    metavar="LOSS",
    help="Change as much as costs no more: points of PCK where --check has keypoints, else % of changed "
    "matches.  [default: for int8, everything at any cost; for fp16, 0.5]",
)
@click.option(
    "--level",
    type=click.Choice(["stage", "block", "layer"]),
    default="block",
    show_default=True,
    help="What --budget decides on in the backbone.",
)
@click.option(
    "--check",
    metavar="DIR|LIST|VIDEO",
    help="Pictures to measure the loss on; a .csv of pairs, with keypoints or without.  [default: frames "
    "of --data that were not calibrated with]",
)
@click.option(
    "--pairs", type=click.IntRange(1), default=32, show_default=True, help="How many pairs to measure on."
)
@click.option(
    "--report",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for plan.json and sensitivity.png, of --budget.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@click.pass_context
def calibrate_command(
    context: click.Context,
    bundle: Path,
    data: str | None,
    output: Path,
    precision: str,
    method: str,
    frames: int,
    target: Any,
    include: tuple[str, ...],
    no_depthwise: bool,
    half: bool,
    table: Path | None,
    plan: Path | None,
    budget: float | None,
    level: Any,
    check: str | None,
    pairs: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Turn BUNDLE into one that computes in INT8 or half precision, and say what that costs.

    \b
    dcc calibrate bundle --data pictures -o bundle-int8
    dcc calibrate half --data video.mp4 -o half-int8
    dcc calibrate bundle --data train.csv --check test.csv --budget 0.5 -o bundle-int8 --report plan
    dcc calibrate bundle --target cpu --table bundle-int8/calibration.json --check test.csv -o bundle-cpu
    dcc calibrate bundle --precision fp16 --data video.mp4 --report plan -o bundle-half

    Ranges are measured on BUNDLE's own graphs; what is not quantised keeps its precision, so a bundle of
    dcc export --fp16 gives INT8 and float16. The loss is measured on pictures that were not calibrated
    with, and is in the manifest, with the calibration table beside it. The plan of --report serves dcc
    export --plan, too.
    """
    from dccnet.runtime.errors import UsageError

    if data is None and table is None:
        raise UsageError(
            "calibration needs frames like those that will be matched: name a folder, a list or a video "
            "with --data"
        )
    if budget is not None and plan is not None:
        raise UsageError("--plan says what to quantise, and --budget searches for it: name one of the two")
    if report is not None and ((budget is None and precision == "int8") or plan is not None):
        raise UsageError("--report is of the search that --budget makes: name both")
    if data is None and check is None:
        raise UsageError(
            "with --table and without --data, name pictures to measure the loss on with --check"
        )
    _require_onnx(plots=report is not None)
    from dccnet.calibration.half.prepare import calibrate_half
    from dccnet.calibration.int8.build import open_layers, write_quantised
    from dccnet.calibration.int8.prepare import prepare
    from dccnet.calibration.plan import read_plan
    from dccnet.calibration.search import search_and_report
    from dccnet.export.bundles.folder import check_replaceable
    from dccnet.runtime.bundle import Bundle

    opened = Bundle.open(bundle)
    if precision == "fp16":
        _only_of_int8(context)
        check_replaceable(output)
        if data is None:
            raise UsageError("--precision fp16 needs frames to look for overflow on: name some with --data")
        written = calibrate_half(
            opened,
            output,
            data=data,
            check=check,
            frames=frames,
            pairs=pairs,
            budget=0.5 if budget is None else budget,
            level=level,
            plan=plan,
            report=report,
            as_json=as_json,
        )
        _finish(written, _half_summary(written), as_json=as_json)
        return
    if half and opened.manifest.precision != "float16":
        raise UsageError(
            f"{bundle} is {opened.manifest.precision}: INT8 with float16 is made from a bundle of dcc "
            "export --fp16"
        )
    check_replaceable(output)
    models, layers = open_layers(opened, ("backbone", *include), depthwise=not no_depthwise)
    known = {layer.name for layer in layers}
    chosen = known
    if plan is not None:
        planned = read_plan(plan)
        planned.check(known, "give the same --include, or make a plan with --budget")
        chosen = set(planned.layers)
    sources: dict[str, Any] = {"data": data, "table": table, "check": check, "frames": frames}
    quantiser, exam = prepare(opened, models, layers, method, target, pairs=pairs, **sources)
    if budget is not None:
        found = search_and_report(
            quantiser, exam, level, budget, report, quantiser.plan_details, as_json=as_json
        )
        chosen = set(found.layers)
    written = write_quantised(quantiser, chosen, output, exam)
    _finish(written, _summary(written, len(known)), as_json=as_json)


def _finish(written: Bundle, summary: str, *, as_json: bool) -> None:
    from dccnet.runtime.console import note

    note(summary)
    click.echo(json.dumps(dataclasses.asdict(written.manifest), indent=2) if as_json else written.path)
    note(f"next: {_next(written)}")


def _only_of_int8(context: click.Context) -> None:
    """Raises :class:`UsageError` for options that mean nothing to half precision."""
    from dccnet.runtime.errors import UsageError

    for name in ("method", "target", "include", "no_depthwise", "half", "table"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = "fp16" if name == "half" else name.replace("_", "-")
            raise UsageError(f"--{option} is of --precision int8: leave one of the two away")


def _summary(bundle: Bundle, candidates: int) -> str:
    calibration = bundle.manifest.calibration
    assert calibration is not None
    return (
        f"{bundle.path}: {len(calibration.layers)} of {candidates} layers in INT8; "
        f"{_agreement(calibration.agreement)}"
    )


def _half_summary(bundle: Bundle) -> str:
    islands = bundle.manifest.islands
    assert islands is not None
    whole = ", ".join(islands.whole) or "nothing"
    return (
        f"{bundle.path}: {len(islands.half)} steps in float16, {whole} in float32; headroom "
        f"{islands.ranges.headroom:.3g} times; {_agreement(islands.agreement)}"
    )


def _agreement(agreement: Agreement) -> str:
    text = (
        f"on {agreement.pairs} pairs {agreement.changed_cells:.1%} of the best cells are others, and all "
        f"best cells {agreement.displacement:.2f} pixels away on average"
    )
    if agreement.pck is not None and agreement.reference_pck is not None:
        text += f"; PCK {agreement.pck:.2f}, before {agreement.reference_pck:.2f}"
    return text


def _next(bundle: Bundle) -> str:
    calibration = bundle.manifest.calibration
    if calibration is None or calibration.target == "tensorrt":
        return f"dcc build {bundle.path} --target sm86"
    return f"dcc match {bundle.path} A.jpg B.jpg -o matches.jpg"


def _require_onnx(*, plots: bool) -> None:
    from dccnet.runtime.errors import DccError

    try:
        import onnx
        import onnxruntime.quantization

        del onnx, onnxruntime
        if plots:
            import matplotlib

            del matplotlib
    except ImportError as error:
        raise DccError(
            f"calibrating needs {error.name}, which is not installed: pip install 'dccnet[calibrate,cpu]'"
        ) from error
