"""``dcc export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.tensorrt.options import engine_options, library_and_settings

if TYPE_CHECKING:
    from dccnet.export.matcher_process import MatcherProcess
    from dccnet.network.model import DCCNet
    from dccnet.runtime.manifest import Conv4dChoice


def _refuse_plan(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Raise :class:`click.UsageError` for an option that earlier versions had."""
    if value is not None:
        raise click.UsageError(
            "--plan is an option of dcc calibrate now: dcc calibrate BUNDLE --plan FILE -o OUT"
        )


GROUPS = {
    "Model": "--image-size --fp16 --conv4d --fine --heatmaps --maps",
    "Output": "--output --format --verify-data --json",
    "Engines": (
        "--library --target --batch --workspace --opt-level --timing-cache --hardware-compatibility --tf32"
    ),
}


@click.command("export", cls=GroupedCommand, groups=GROUPS)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle to write (a folder)."
)
@click.option("--heatmaps", is_flag=True, help="Also return the scores of all pairs of cells.")
@click.option(
    "--maps",
    is_flag=True,
    help="--heatmaps, and also the scores of the local and the context branch alone and the attention "
    "that weights them: everything that dcc view can show.",
)
@click.option(
    "--fine/--no-fine",
    default=None,
    help="Also return features at stride 4, by which dcc match --refine places matches below the cells. "
    "They need no weights of their own.  [default: where they were measured: for EfficientNet-lite]",
)
@click.option(
    "--fp16",
    "--half",
    "half",
    is_flag=True,
    help="Half precision, with float32 for steps that need it. For engines on GPUs; no faster on a CPU.",
)
@click.option(
    "--conv4d",
    type=click.Choice(["usual", "stack", "spectral", "spectral3", "separable", "auto", "all"]),
    default="usual",
    show_default=True,
    help="How to compute the 4D convolutions: by ordinary convolutions of slices (stack), by spectra along "
    "two or three axes, or by 2D convolutions (separable), for kernels of votes, which treat rows and "
    "columns apart. usual chooses by precision, kernels and grid; auto times all that suit the network in "
    "ONNX Runtime on this CPU and uses the fastest; all also writes the others, which dcc build --conv4d "
    "auto times on a GPU.",
)
@click.option(
    "--plan",
    hidden=True,
    expose_value=False,
    is_eager=True,  # before missing arguments are reported
    callback=_refuse_plan,
)
@click.option(
    "--image-size",
    metavar="HxW",
    help="Size of the frames, height x width in pixels.  [default: the network's own]",
)
@click.option(
    "--verify-data",
    metavar="DIR",
    help="Folder or glob of pictures on which to compare with PyTorch; the first five are used.  "
    "[default: three that come with dcc]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["onnx", "engine"]),
    default="onnx",
    show_default=True,
    help="engine: also compile the graphs as dcc build does, with the options below.",
)
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def export_command(
    model: Path,
    output: Path,
    heatmaps: bool,
    maps: bool,
    fine: bool | None,
    half: bool,
    conv4d: str,
    image_size: str | None,
    verify_data: str | None,
    format_: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Export the network MODEL (a .safetensors file) as a bundle of ONNX graphs.

    \b
    dcc export model.safetensors -o bundle
    dcc export model.safetensors --maps --verify-data photos/ -o bundle
    dcc export model.safetensors --fp16 --format engine --target sm86 -o half

    The bundle is run with ONNX Runtime and compared with PyTorch. Exit code 3: it was written, but does not
    agree. On two cores, a second process traces the matcher; not with OMP_NUM_THREADS=1.
    """
    process = _matcher_process(model, conv4d)  # at once: it loads PyTorch while this process does
    import dataclasses

    from dccnet.runtime.console import note, steps
    from dccnet.runtime.errors import NotVerifiedError, UsageError
    from dccnet.runtime.garbage import no_garbage_collection
    from dccnet.runtime.images import find_images

    _import_exporter()
    from dccnet.export.build import ALL, AUTO, AUTO_STEPS, STEPS, export_bundle
    from dccnet.export.bundles.samples import PICTURES
    from dccnet.export.outcome import failure, summary
    from dccnet.runtime.tensorrt.bundled import add_engines
    from dccnet.runtime.tensorrt.bundled import summary as engine_summary
    from dccnet.runtime.tensorrt.making import make_engines, open_gpu
    from dccnet.weights.checkpoint import load_checkpoint

    pictures = find_images(verify_data or PICTURES)
    if len(pictures) < 2:
        raise UsageError(f"--verify-data needs at least two pictures, {verify_data} has one")
    # Raises for options of a library that is not there: before the slow part.
    engines = library_and_settings(**options) if format_ == "engine" else None
    gpu = None if engines is None else open_gpu()
    problems: list[str] = []
    with no_garbage_collection():  # a backbone may import torchvision
        network = load_checkpoint(model)
    if image_size is not None:
        network = at_image_size(network, parse_size(image_size))
    total = STEPS + (AUTO_STEPS if conv4d in (AUTO, ALL) else 0) + (2 if engines else 0)
    with steps("exporting", total) as step:
        bundle = export_bundle(
            network,
            output,
            pictures,
            heatmaps=heatmaps,
            maps=maps,
            conv4d=conv4d,
            half=half,
            fine=fine,
            on_step=step,
            process=process,
        )
        if engines is not None:
            made = make_engines(bundle, *engines, gpu, None, step, step.detail, problems.append)
            bundle = add_engines(bundle, made)
    for text in problems:
        note(text)
    if bundle.manifest.conv4d.seconds is not None:
        note(_timings(bundle.manifest.conv4d))
    report = bundle.manifest.verification
    assert report is not None
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(bundle.manifest), indent=2))
    if (problem := failure(report)) is not None:
        raise NotVerifiedError(f"{output} was written and is marked as not verified: {problem}")
    for record in bundle.manifest.engines:
        note(engine_summary(record))
    note(f"{output} agrees with PyTorch: {summary(report)}")
    if not as_json:
        click.echo(output)
    note(f"next: dcc match {output} A.jpg B.jpg -o matches.jpg")


def _matcher_process(model: Path, conv4d: str) -> MatcherProcess | None:
    """A process that traces the matcher, where it saves time; it ends with the command."""
    from dccnet.export.matcher_process import second_process

    process = None if conv4d == "auto" else second_process(model)
    if process is not None:
        click.get_current_context().call_on_close(process.close)
    return process


def _import_exporter() -> None:
    from dccnet.runtime.extras import required
    from dccnet.runtime.garbage import no_garbage_collection

    with no_garbage_collection(), required("exporting", "export", "cpu"):
        import onnx
        import onnxruntime
        import onnxscript
        import torch

        from dccnet.export import build

        del onnx, onnxruntime, onnxscript, torch, build


def _timings(choice: Conv4dChoice) -> str:
    assert choice.seconds is not None
    table = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in choice.seconds.items())
    return f"4D convolutions: {choice.lowering}; one run of the matcher ({choice.engine}): {table}"


def parse_size(text: str) -> tuple[int, int]:
    """``400x300`` -> (400, 300): (height, width) in pixels. Raises :class:`UsageError`."""
    from dccnet.runtime.errors import UsageError

    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isdecimal() for part in parts):
        return int(parts[0]), int(parts[1])
    raise UsageError(f"a size is HEIGHTxWIDTH in pixels, such as 400x400, not '{text}'")


def at_image_size(network: DCCNet, size: tuple[int, int]) -> DCCNet:
    """The same network for pictures of another ``size``, (height, width) in pixels.

    Raises :class:`UsageError` for networks whose weights depend on the size, and for impossible sizes.
    """
    from dccnet.network.model import DCCNet
    from dccnet.runtime.errors import UsageError

    try:
        config = network.config.replace(image_size=size)
    except ValueError as error:
        raise UsageError(str(error)) from error
    resized = DCCNet(config)
    if config.welded_to_grid and resized.grid != network.grid:
        height, width = network.config.image_size
        raise UsageError(
            f"this network's fusion layer is welded to the feature grid of {height}x{width} pictures: "
            f"export it at that size, or train one at {size[0]}x{size[1]}"
        )
    resized.load_state_dict(network.state_dict())
    return resized.eval()
