"""The service of ``dcc serve`` under Ray Serve: replicas on several machines, more of them under load.

    serve run dccnet.integrations.ray_serve:app model=bundle max_replicas=8

Ray Serve takes the requests, on its own port (8000), and gives each to one of the replicas, every one of
which has a matcher. References are not there: they would be in the memory of one replica.
"""

# No annotations from the future: Ray Serve and pydantic read these as they are.

from typing import Any

from dccnet.runtime.extras import required
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.option import choose_model
from dccnet.service.settings import Settings, token_of_environment

with required("the service on several machines", "ray-serve"):
    from fastapi import FastAPI
    from pydantic import BaseModel, ConfigDict, Field
    from ray import serve

    from dccnet.service.app import create_app
    from dccnet.service.core import Service


class Arguments(BaseModel):
    """What ``serve run`` takes as ``NAME=VALUE``; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    """A bundle, a name or an address, as ``dcc serve`` takes it; every machine must reach it."""
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(2, ge=1)
    busy: float = Field(4, gt=0)
    """Requests of a replica at a time from which on there are to be more replicas."""
    cpus: float = Field(1, gt=0)
    """Of one replica; also the number of its threads, at least one."""
    gpus: float = Field(0, ge=0)
    """Of one replica."""
    queue: int = Field(32, ge=1)
    """Requests of a replica at a time, as ``--queue``."""
    timeout_s: float = Field(30, gt=0)
    """As ``--timeout``."""


def app(arguments: Arguments) -> Any:
    """The application; the token is that of ``DCC_TOKEN`` where this function is called."""
    settings = Settings(
        queue=arguments.queue,
        timeout_s=arguments.timeout_s,
        reference_bytes=0,
        token=token_of_environment(),
    )
    model, threads = arguments.model, max(round(arguments.cpus), 1)
    device = "cuda" if arguments.gpus else "cpu"

    def build() -> FastAPI:
        chosen, _ = choose_model(model, ())
        matcher = Matcher.open(chosen.open(), threads=threads, device=device)
        return create_app(Service(matcher, chosen.shown, settings))

    deployment: Any = serve.deployment(
        serve.ingress(build)(),
        name="dcc",
        max_ongoing_requests=arguments.queue,
        max_queued_requests=arguments.queue,
        ray_actor_options={"num_cpus": arguments.cpus, "num_gpus": arguments.gpus},
        autoscaling_config={
            "min_replicas": arguments.min_replicas,
            "max_replicas": arguments.max_replicas,
            "target_ongoing_requests": arguments.busy,
        },
        graceful_shutdown_timeout_s=arguments.timeout_s,
    )
    return deployment.bind()
