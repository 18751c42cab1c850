"""``dcc build``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.console import note, steps
from dccnet.runtime.errors import UsageError
from dccnet.runtime.locks import output_lock
from dccnet.runtime.models.addresses import parse_address
from dccnet.runtime.models.names import find_model
from dccnet.runtime.tensorrt.bundled import add_engines, summary, write_engines
from dccnet.runtime.tensorrt.lowerings import describe_times
from dccnet.runtime.tensorrt.making import AUTO, make_engines, open_gpu
from dccnet.runtime.tensorrt.options import engine_options, library_and_settings


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to.  [default: into the bundle]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="cuda:N",
    help="GPU on which TensorRT builds and that runs the engines; auto: the first one, if there is one.",
)
@click.option(
    "--conv4d",
    metavar="NAME",
    help="Lowering of the matcher, of those that dcc export --conv4d all wrote; auto: builds all of them, "
    "times them on the GPU, and keeps the fastest.  [default: the one of the bundle]",
)
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print the records of the engines as JSON.")
def build(
    bundle: Path, output: Path | None, device: str, conv4d: str | None, as_json: bool, **options: Any
) -> None:
    """Compile a BUNDLE's graphs to engines of TensorRT or TensorRT-RTX.

    TensorRT needs the GPU that will run the engines; TensorRT-RTX builds for any --target on any machine.
    Where a GPU here runs them, they are compared with the graphs; engines that disagree are not written.
    Without this command, dcc match builds on first use and keeps the engines in a cache. An engine is a
    plain plan file, as trtexec and Triton load it; the .json file beside it describes it.
    """
    library, settings = library_and_settings(**options)
    gpu = open_gpu(device)
    kept = f"{bundle} is kept by dcc and is not changed: name a folder with --output"
    if output is None and parse_address(bundle) is not None:
        raise UsageError(kept)
    path = find_model(bundle, note)
    if output is None and path != bundle:
        raise UsageError(kept)
    problems: list[str] = []
    with output_lock(path if output is None else output):
        opened = Bundle.open(path)
        count = 2 + (len(opened.manifest.lowerings) if conv4d == AUTO else 0)
        with steps("building", count) as step:
            engines = make_engines(
                opened, library, settings, gpu, conv4d, step, step.detail, problems.append
            )
        if output is None:
            add_engines(opened, engines)
        else:
            write_engines(engines, output)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(engine.record) for engine in engines], indent=2))
    for problem in problems:
        note(problem)
    for engine in engines:
        note(summary(engine.record))
        if engine.record.times is not None:
            note(describe_times(engine.record.times))
        if not as_json:
            click.echo((output or bundle) / engine.record.file)
