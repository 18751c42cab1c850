"""``dcc serve``."""

from __future__ import annotations

import sys

import click

from dccnet.runtime.models.option import choose_model
from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import (
    Number,
    Whole,
    backend_option,
    device_option,
    refine_option,
    threads_option,
    trust_engine_option,
)

GROUPS = {
    "Address": "--host --port --allow-host",
    "Limits": "--max-body-mb --max-pixels --max-points --max-views --queue --timeout --receive-timeout",
    "Batches": "--batch --batch-wait-ms",
    "References": "--references-gb --references-minutes",
    "Pictures by address": "--allow-urls --allow-private-urls",
    "Machine": "--refine --backend --device --threads --trust-engine",
}


@click.command(cls=GroupedCommand, groups=GROUPS)
@click.argument("model", required=False, metavar="[MODEL]")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all machines."
)
@click.option("--port", type=Whole(0, 65535), default=8000, show_default=True, help="0 for a free one.")
@click.option(
    "--allow-host",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="What clients may call this server; repeatable.  [default: this machine's own names with a "
    "--host of this machine alone, else anything]",
)
@click.option(
    "--max-body-mb", type=Number(0.001, 4096), default=32, show_default=True, help="Of a request."
)
@click.option(
    "--max-pixels", "pixels", type=Whole(1), default=50_000_000, show_default=True, help="Of a picture."
)
@click.option("--max-points", type=Whole(1), default=1000, show_default=True, help="Of a request.")
@click.option(
    "--max-views",
    type=Whole(1),
    default=8,
    show_default=True,
    help="Most views of a request's pictures, of 1, 3 and 8: what a request costs.",
)
@click.option(
    "--queue",
    type=Whole(1, 10_000),
    default=32,
    show_default=True,
    help="Requests at a time, waiting ones included; others get 503 and when to try again.",
)
@click.option(
    "--timeout",
    type=Number(0.1, 3600),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="From a request's last byte to its answer; then it gets 503.",
)
@click.option(
    "--receive-timeout",
    type=Number(0.1, 3600),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="For a request's body to arrive; then it gets 408.",
)
@click.option(
    "--batch", type=Whole(1, 256), default=4, show_default=True, help="Pairs matched in one run, at most."
)
@click.option(
    "--batch-wait-ms",
    type=Number(0, 1000),
    default=5,
    show_default=True,
    help="How long the first pair of a batch waits for others.",
)
@click.option(
    "--references-gb",
    type=Number(0, 1024),
    default=1,
    show_default=True,
    help="Memory for references; those used longest ago make room.",
)
@click.option(
    "--references-minutes",
    type=Number(0.01, 1e6),
    default=60,
    show_default=True,
    help="How long a reference is kept after its last use.",
)
@click.option(
    "--allow-urls",
    "url_hosts",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Fetch pictures from this host, if a request asks for it; repeatable.  [default: from none]",
)
@click.option(
    "--allow-private-urls", is_flag=True, help="Also where such a host has an address of a private network."
)
@refine_option
@backend_option
@device_option
@threads_option
@trust_engine_option
def serve(
    model: str | None,
    host: str,
    port: int,
    host_names: tuple[str, ...],
    max_body_mb: float,
    pixels: int,
    max_points: int,
    max_views: int,
    queue: int,
    timeout: float,
    receive_timeout: float,
    batch: int,
    batch_wait_ms: float,
    references_gb: float,
    references_minutes: float,
    url_hosts: tuple[str, ...],
    allow_private_urls: bool,
    refine: bool | None,
    backend: str,
    device: str,
    threads: int,
    trust_engine: bool,
) -> None:
    """Match pictures for other programs, over HTTP.

    \b
      dcc serve --port 8000                      the built-in model, for this machine alone
      dcc serve BUNDLE --port 9000 --queue 64    another model
      DCC_TOKEN=… dcc serve --host 0.0.0.0       for all machines that know the token

    \b
      curl -F a=@a.jpg -F b=@b.jpg -F 'points=[[120, 80]]' http://127.0.0.1:8000/v1/match

    MODEL is a bundle, a name that dcc models lists, or an address, as --model of dcc match; by default, the
    model that comes with dcc. A page at / matches two pictures that are dropped on it; /openapi.json
    describes the rest, /metrics is for Prometheus. Ctrl-C and SIGTERM stop the server when the requests
    that are running have ended.
    """
    from dccnet.runtime.extras import required

    with required("a service", "serve"):
        import fastapi
        import prometheus_client
        import python_multipart
        import uvicorn

        del fastapi, prometheus_client, python_multipart, uvicorn
    from dccnet.runtime.console import note, warn
    from dccnet.runtime.matcher import Matcher
    from dccnet.service.app import create_app
    from dccnet.service.core import Service
    from dccnet.service.server import LOOPBACK, bind, run, url_of
    from dccnet.service.settings import TOKEN, Settings, token_of_environment

    alone = host in LOOPBACK
    settings = Settings(
        body_bytes=round(max_body_mb * 2**20),
        pixels=pixels,
        points=max_points,
        views=max_views,
        queue=queue,
        batch=batch,
        batch_wait_s=batch_wait_ms / 1000,
        timeout_s=timeout,
        receive_s=receive_timeout,
        reference_bytes=round(references_gb * 2**30),
        reference_s=references_minutes * 60,
        token=token_of_environment(),
        url_hosts=url_hosts,
        private_urls=allow_private_urls,
        host_names=host_names or ((*LOOPBACK, "[::1]") if alone else None),
    )
    chosen, _ = choose_model(model, ())
    bundle = chosen.open()
    chosen.warn_unless_verified(bundle.manifest)
    with (
        bind(host, port) as bound,
        Matcher.open(
            bundle,
            backend=backend,
            device=device,
            threads=threads,
            trust_engine=trust_engine,
            refine=refine,
            on_note=note,
        ) as matcher,
    ):
        service = Service(matcher, chosen.shown, settings)
        app = create_app(service)
        if chosen.by_default:
            note(f"built-in model {chosen.named}; another: dcc serve BUNDLE")
        if not alone and settings.token is None:
            warn(f"whoever reaches {host} may use this server: set {TOKEN}, or use --host 127.0.0.1")
        note(f"listening on {url_of(bound, host)} with {matcher.backend.description}; Ctrl-C stops")
        sys.stderr.flush()
        run(app, bound, settings.timeout_s, service.stop)
        note("stopped")
