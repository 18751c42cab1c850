"""``dcc calibrate``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dccnet.calibration.settings import (
    HALF_BUDGET,
    HalfSettings,
    Int8Settings,
    PictureSettings,
    SearchSettings,
)
from dccnet.runtime.errors import UsageError
from dccnet.runtime.extras import required
from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import Number, Whole

if TYPE_CHECKING:
    from dccnet.calibration.plan_file import PlanFile
    from dccnet.runtime.bundle import Bundle

_INT8_OPTIONS = {
    "method": "--method",
    "target": "--target",
    "include": "--include",
    "no_depthwise": "--no-depthwise",
    "half": "--fp16",
    "table": "--table",
}
"""Options that half precision does not have, by parameter."""


GROUPS = {
    "Input": "--data --frames --table --plan",
    "Precision": "--precision --method --target --include --no-depthwise --fp16",
    "Loss": "--check --pairs --budget --level",
    "Output": "--output --report --json",
}


@click.command("calibrate", cls=GroupedCommand, groups=GROUPS)
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
    help="fp16: find the steps that must stay float32 on these frames, and change all others to half "
    "precision. A plan decides by itself.",
)
@click.option(
    "--method",
    type=click.Choice(["minmax", "entropy", "percentile", "mse"]),
    default="mse",
    show_default=True,
    help="How to choose the range that INT8 covers, which can clip rare extremes.",
)
@click.option(
    "--frames",
    type=Whole(1),
    default=64,
    show_default=True,
    help="Number of frames to calibrate with.",
)
@click.option(
    "--target",
    type=click.Choice(["tensorrt", "cpu"]),
    default="tensorrt",
    show_default=True,
    help="What to lay out the graphs for: engines on GPUs, or ONNX Runtime on CPUs.",
)
@click.option(
    "--include",
    multiple=True,
    type=click.Choice(["context", "consensus"]),
    help="Also quantise the context encoder's convolution, or the 4D convolutions (of --conv4d stack).",
)
@click.option(
    "--no-depthwise",
    is_flag=True,
    help="Do not quantise depthwise convolutions: TensorRT-RTX makes INT8 ones several times as large.",
)
@click.option("--fp16", "--half", "half", is_flag=True, help="Require that BUNDLE is in half precision.")
@click.option(
    "--table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Calibration table of an earlier run, instead of measuring ranges on --data.",
)
@click.option(
    "--plan",
    type=click.Path(path_type=Path, dir_okay=False),
    help="plan.json of an earlier run with --report: which layers or steps to change. Needs no --data for "
    "the bundle that it was made for.",
)
@click.option(
    "--budget",
    type=Number(0),
    metavar="LOSS",
    help="Change as many layers as cost no more: points of PCK where --check has keypoints, else % of "
    "changed matches.  [default: for int8, all layers at any cost; for fp16, 0.5]",
)
@click.option(
    "--level",
    type=click.Choice(["stage", "block", "layer"]),
    default="block",
    show_default=True,
    help="Size of the groups of layers in the backbone that --budget decides on.",
)
@click.option(
    "--check",
    metavar="DIR|LIST|VIDEO",
    help="Pictures to measure the loss on; a .csv of pairs, with keypoints or without.  [default: frames "
    "of --data that were not calibrated with; without --data, pictures that come with dcc]",
)
@click.option(
    "--pairs",
    type=Whole(1),
    default=32,
    show_default=True,
    help="Number of pairs to measure the loss on.",
)
@click.option(
    "--report",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for plan.json and sensitivity.png of the search within --budget.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@click.pass_context
def calibrate_command(
    context: click.Context, /, bundle: Path, output: Path, plan: Path | None, half: bool, **options: Any
) -> None:
    """Write a bundle that computes like BUNDLE in INT8 or half precision, and measure the loss.

    \b
    dcc calibrate bundle --data pictures -o bundle-int8
    dcc calibrate half --data video.mp4 -o half-int8
    dcc calibrate bundle --data train.csv --check test.csv --budget 0.5 -o bundle-int8 --report plan
    dcc calibrate bundle --target cpu --table int8/calibration.json --check test.csv -o bundle-cpu
    dcc calibrate bundle --precision fp16 --data video.mp4 --report plan -o bundle-half
    dcc calibrate bundle --plan plan/plan.json -o bundle-planned

    Ranges are measured on BUNDLE's own graphs. Layers that are not quantised keep their precision, so a
    bundle of dcc export --fp16 becomes INT8 and float16. The loss is measured on pictures that were not
    calibrated with, and stored in the manifest. The calibration table is in the bundle, too.
    """
    _check_frames(plan, **options)
    with required("calibrating", "calibrate", "cpu"):
        import onnx
        import onnxruntime.quantization

        del onnx, onnxruntime
        if options["report"] is not None:
            import matplotlib

            del matplotlib
    from dccnet.calibration.half.calibrate import calibrate_half
    from dccnet.calibration.int8.calibrate import calibrate_int8
    from dccnet.calibration.plan_file import read_plan_file
    from dccnet.export.bundles.folder import check_replaceable
    from dccnet.runtime.console import note
    from dccnet.runtime.models.names import open_bundle

    settings = _settings(context, None if plan is None else read_plan_file(plan))
    opened = open_bundle(bundle, note)
    if half and opened.manifest.precision != "float16":
        raise UsageError(
            f"{bundle} is {opened.manifest.precision}: INT8 with float16 is made from a bundle of dcc "
            "export --fp16"
        )
    check_replaceable(output)
    if isinstance(settings, HalfSettings):
        written = calibrate_half(opened, output, settings)
    else:
        written = calibrate_int8(opened, output, settings)
    as_json = options["as_json"]
    click.echo(json.dumps(dataclasses.asdict(written.manifest), indent=2) if as_json else written.path)
    note(f"next: {_next(written)}")


def _check_frames(
    plan: Path | None,
    *,
    data: str | None,
    table: Path | None,
    check: str | None,
    budget: float | None,
    report: Path | None,
    precision: str,
    **options: Any,
) -> None:
    """Raise :class:`UsageError` for options that contradict each other or leave something out."""
    if data is None and table is None and plan is None:
        raise UsageError(
            "calibration needs frames like those that will be matched: name a folder, a list or a video "
            "with --data"
        )
    if budget is not None and plan is not None:
        raise UsageError("--plan says which layers to change, and --budget searches for them: remove one")
    if report is not None and ((budget is None and precision == "int8") or plan is not None):
        raise UsageError("--report writes what a search finds: add --budget, and remove --plan")
    if table is not None and data is None and check is None:
        raise UsageError(
            "with --table and without --data, name pictures to measure the loss on with --check"
        )


def _settings(context: click.Context, plan: PlanFile | None) -> Int8Settings | HalfSettings:
    """The settings that the options describe. Raises :class:`UsageError` for options of the other
    precision."""
    options = context.params
    half = _is_half(context, plan)
    budget = HALF_BUDGET if half and options["budget"] is None else options["budget"]
    pictures = PictureSettings(options["data"], options["frames"], options["check"], options["pairs"])
    search = None
    if budget is not None and plan is None:
        search = SearchSettings(budget, options["level"], options["report"], options["as_json"])
    if half:
        _refuse_int8_options(context, plan)
        if plan is None and pictures.data is None:
            raise UsageError("--precision fp16 needs frames to look for overflow on: name some with --data")
        return HalfSettings(pictures, plan, search)
    method, target = options["method"], options["target"]
    if plan is not None and pictures.data is None and options["table"] is None:
        method = method if _is_given(context, "method") else plan.method or method
        target = target if _is_given(context, "target") else plan.target or target
    return Int8Settings(
        pictures,
        method,
        target,
        include=options["include"],
        depthwise=not options["no_depthwise"],
        table=options["table"],
        plan=plan,
        search=search,
    )


def _is_half(context: click.Context, plan: PlanFile | None) -> bool:
    """Whether the precision is float16, by ``--precision`` or else by the plan."""
    precision = context.params["precision"]
    half: bool = precision == "fp16"
    if plan is not None and half != (plan.precision == "float16"):
        if _is_given(context, "precision"):
            raise UsageError(f"{plan.path} is a plan for {plan.precision}: remove --precision {precision}")
        half = not half
    return half


def _refuse_int8_options(context: click.Context, plan: PlanFile | None) -> None:
    reason = "this is --precision fp16" if plan is None else f"{plan.path} is a plan for float16"
    for name, option in _INT8_OPTIONS.items():
        if _is_given(context, name):
            raise UsageError(f"{option} is an option of --precision int8, and {reason}: remove {option}")


def _is_given(context: click.Context, parameter: str) -> bool:
    return context.get_parameter_source(parameter) is click.core.ParameterSource.COMMANDLINE


def _next(bundle: Bundle) -> str:
    calibration = bundle.manifest.calibration
    if calibration is None or calibration.target == "tensorrt":
        return f"dcc build {bundle.path} --target sm86"
    return f"dcc match {bundle.path} A.jpg B.jpg -o matches.jpg"
