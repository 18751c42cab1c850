"""What ``dcc view --live`` does: write the page's folder, or serve it and open it."""

from __future__ import annotations

import contextlib
import json
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import click

from dccnet.runtime.console import note
from dccnet.runtime.errors import UsageError
from dccnet.runtime.models.option import choose_model
from dccnet.runtime.viewer.live.folder import live_page, write_page
from dccnet.runtime.viewer.live.onnxruntime_web import CPU, WEBGPU, find_web_runtime
from dccnet.runtime.viewer.live.server import PageServer


def view_live(
    arguments: Sequence[str],
    model: str | None,
    output: Path | None,
    *,
    source: str | None,
    webgpu: bool,
    fetch: bool,
    port: int,
    open_browser: bool,
    as_json: bool,
) -> None:
    """Write the page into the folder ``output``, or serve it until Ctrl-C and open it in the browser.

    ``arguments`` are ``[BUNDLE] [A B]``; ``source`` and ``fetch`` are those of :func:`find_web_runtime`.
    ``webgpu`` takes the build that also runs on GPUs.
    """
    chosen, pictures = choose_model(model, arguments)
    if len(pictures) not in (0, 2):
        raise UsageError("with --live, name two pictures, A and B, or none")
    bundle = chosen.open()
    chosen.warn_unless_verified(bundle.manifest)
    runtime = find_web_runtime(source, build=WEBGPU if webgpu else CPU, fetch=fetch, on_note=note)
    page = live_page(bundle, chosen.shown, runtime, [Path(picture) for picture in pictures])
    if output is not None:
        write_page(page, output)
        facts = {"page": str(output), "files": len(page.files), "loaded_bytes": page.loaded}
        click.echo(json.dumps(facts) if as_json else output)
        note(f"a browser loads {page.loaded / 1e6:.1f} MB; any web server can serve the folder")
        return
    with PageServer(page.files, port) as server:
        click.echo(json.dumps({"url": server.url, "loaded_bytes": page.loaded}) if as_json else server.url)
        sys.stdout.flush()
        note("serving this machine alone; Ctrl-C ends it")
        if open_browser:
            webbrowser.open(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
