"""``dcc view``."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.core import ParameterSource

from dccnet.runtime.models.option import choose_model, model_option
from dccnet.runtime.option_types import Whole, backend_option, device_option

_FOR_LIVE = {
    "webgpu": "--webgpu",
    "fetch": "--fetch",
    "source": "--onnxruntime-web",
    "port": "--port",
    "open_browser": "--open/--no-open",
}
_FOR_PAIR = {"backend": "--backend", "device": "--device"}


@click.command()
@click.argument("arguments", nargs=-1, metavar="[BUNDLE] [A B]")
@model_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Page to write (.html); with --live, the folder to write.",
)
@click.option(
    "--live",
    is_flag=True,
    help="A page that matches by itself, in the browser: any two pictures, or a camera.",
)
@click.option(
    "--fetch",
    is_flag=True,
    help="With --live: fetch onnxruntime-web from npm (33 MB), if it is not there yet.",
)
@click.option(
    "--onnxruntime-web",
    "source",
    metavar="FILE|FOLDER|ADDRESS",
    help="With --live: take onnxruntime-web from its tarball, its folder, or its tarball's address.",
)
@click.option(
    "--webgpu",
    is_flag=True,
    help="With --live: also run on the browser's GPU, where it has one; loads 3 MB more.",
)
@click.option("--port", type=Whole(0, 65535), help="With --live: port of the page.  [default: a free one]")
@click.option(
    "--open/--no-open",
    "open_browser",
    default=True,
    help="With --live: open the page in the browser, or only print its address.  [default: open]",
)
@backend_option
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print a description of the page as JSON.")
@click.pass_context
def view(
    ctx: click.Context,
    arguments: tuple[str, ...],
    model: str | None,
    output: Path | None,
    live: bool,
    fetch: bool,
    source: str | None,
    webgpu: bool,
    port: int | None,
    open_browser: bool,
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

    With --live, the network runs in the browser: drop, choose or paste any two pictures there, or use the
    camera. The page is served to this machine alone until Ctrl-C, or, with -o FOLDER, written for any web
    server. A and B, if named, are its first pictures. It needs onnxruntime-web, which --fetch fetches once.
    """
    from dccnet.runtime.errors import UsageError

    for name, option in (_FOR_PAIR if live else _FOR_LIVE).items():
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UsageError(
                f"{option} has no meaning with --live: the browser runs the network"
                if live
                else f"{option} is for the page of --live"
            )
    if not live:
        if output is None:
            raise UsageError("name the page to write: -o page.html; or --live for one that matches itself")
        _view_pair(arguments, model, output, backend, device, as_json)
        return
    if output is not None and (port is not None or not open_browser):
        raise UsageError("--port and --no-open are for a page that is served: remove them or -o")
    from dccnet.runtime.viewer.live.command import view_live

    view_live(
        arguments,
        model,
        output,
        source=source,
        webgpu=webgpu,
        fetch=fetch,
        port=port or 0,
        open_browser=open_browser,
        as_json=as_json,
    )


def _view_pair(
    arguments: tuple[str, ...], model: str | None, output: Path, backend: str, device: str, as_json: bool
) -> None:
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
        raise UsageError(chosen.two_missing(images))
    image_a, image_b = map(Path, images)
    pictures = read_image(image_a), read_image(image_b)
    bundle = chosen.open()
    if chosen.by_default:
        note(chosen.note)
    matcher = Matcher.open(bundle, backend=backend, device=device, on_note=note)
    manifest = matcher.manifest
    chosen.warn_unless_verified(manifest)
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
