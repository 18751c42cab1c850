"""``dcc export-triton``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dccnet.runtime.option_types import Whole


@click.command("export-triton")
@click.argument("bundle")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Repository to write (a folder)."
)
@click.option("--name", default="dcc", show_default=True, help="What the models' names begin with.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["onnx", "engine"]),
    default="onnx",
    show_default=True,
    help="engine: the bundle's TensorRT engines, for a server with the same GPU and version of TensorRT.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Where encoder and matcher run; auto: on GPUs if the server has any.",
)
@click.option(
    "--instances",
    type=Whole(1, 64),
    default=1,
    show_default=True,
    help="Copies of each model that run at once.",
)
@click.option(
    "--max-batch",
    type=Whole(1, 256),
    default=8,
    show_default=True,
    help="Pictures or pairs in one run, at most. It determines the memory.",
)
@click.option(
    "--queue-delay",
    type=Whole(0, 10_000_000),
    default=0,
    show_default=True,
    metavar="MICROSECONDS",
    help="How long a request waits for others to be run with.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export_triton_command(
    bundle: str,
    output: Path,
    name: str,
    format_: str,
    device: str,
    instances: int,
    max_batch: int,
    queue_delay: int,
    as_json: bool,
) -> None:
    """Export a BUNDLE as a model repository of NVIDIA's Triton Inference Server.

    \b
    dcc export-triton small-1 -o repository
    dcc export-triton bundle --format engine --instances 2 -o repository
    tritonserver --model-repository repository

    BUNDLE is a folder, a name that dcc models lists, or an address. The server takes pictures of any size
    and answers in their pixels, so that its clients need nothing of dcc; client.py, which is written
    beside the models, is one.
    """
    import dataclasses

    from dccnet.runtime.console import note, steps
    from dccnet.runtime.extras import required
    from dccnet.runtime.models.names import find_model
    from dccnet.runtime.models.option import ModelChoice

    with required("exporting for Triton", "triton"):
        import onnx

        del onnx
    from dccnet.export.triton.repository import Settings, export_triton

    settings = Settings(name, format_, device, instances, max_batch, queue_delay)
    choice = ModelChoice(find_model(bundle, note), bundle, by_default=False, as_argument=True)
    opened = choice.open()
    choice.warn_unless_verified(opened.manifest)
    with steps("exporting", 2) as step:
        written = export_triton(opened, output, settings, step)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(written), indent=2))
    else:
        click.echo(output)
    for engine in sorted(set(written.engines.values())):
        note(f"the server must have {engine} and the GPU that the engines were built on")
    note(f"next: tritonserver --model-repository {output}; python {output / 'client.py'} match A.jpg B.jpg")
