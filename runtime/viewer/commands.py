"""``dcc view``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dccnet.runtime.models.option import choose_model, model_option
from dccnet.runtime.selection import BACKENDS


@click.command()
@click.argument("arguments", nargs=-1, metavar="[BUNDLE] A B")
@model_option
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Page to write (.html)."
)
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="Backend that runs the network; auto takes the fastest that works here.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print a description of the page as JSON.")
def view(
    arguments: tuple[str, ...],
    model: str | None,
    output: Path,
    backend: str,
    device: str,
    as_json: bool,
) -> None:
    """Write a web page to explore how the pictures A and B match.

    Point at a place in one picture: its match appears in the other where dcc match places it, with a heat
    map of all scores, and its confidence if the bundle has one. The page is one file that needs no server
    and makes no requests. With a bundle exported with --maps, it shows the
    fused scores, those of the local and the context branch, and the attention; with --heatmaps, the fused
    scores; with any other bundle, best matches only. So does the model that comes with dcc, which is used
    unless --model or, as the first argument, BUNDLE names another one.
    """
    from dccnet.runtime.console import note, warn
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.files import write_text
    from dccnet.runtime.images import read_image
    from dccnet.runtime.matcher import Matcher
    from dccnet.runtime.viewer.page import LIMIT_BYTES, build_page

    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"cannot write '{output}': the name of a page must end in .html")
    chosen, images = choose_model(model, arguments)
    if len(images) != 2:
        raise UsageError("name two pictures, A and B")
    image_a, image_b = map(Path, images)
    pictures = read_image(image_a), read_image(image_b)
    bundle = chosen.open()
    if chosen.by_default:
        note(chosen.note)
    matcher = Matcher.open(bundle, backend=backend, device=device, on_note=note)
    manifest = matcher.manifest
    if not manifest.verified:
        warn(f"{chosen.named} is marked as not verified: its matches may differ from the network's")
    page = build_page(
        matcher.match(*pictures),
        *pictures,
        names=(image_a.name, image_b.name),
        network=f"{manifest.model['backbone']}, {manifest.grid[0]}×{manifest.grid[1]} cells",
    )
    write_text(output, page.html)
    size = output.stat().st_size
    if size > LIMIT_BYTES:
        warn(f"the page has {size / 1e6:.1f} MB, because this grid has many scores")
    if not page.maps:
        note(f"{chosen.named} returns best matches only; for heat maps: dcc export MODEL --maps -o BUNDLE")
    if not as_json:
        click.echo(output)
        note(f"{size / 1e6:.1f} MB; open it in a browser")
        return
    facts = {
        "page": str(output),
        "bytes": size,
        "maps": page.maps,
        "attention": page.attention,
        "levels": page.levels,
        "largest_error": page.largest_error,
        "rule": page.rule,
        "confidence": page.confidence,
    }
    click.echo(json.dumps(facts))
