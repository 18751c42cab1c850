"""What Prometheus reads at ``/metrics``: requests, seconds by stage, queue, batches, references, errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_JOBS = (1, 2, 3, 4, 6, 8, 12, 16, 32)


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "dcc_requests", "Requests that were answered.", ("route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "dcc_request_seconds",
            "From a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "dcc_stage_seconds",
            "Time in a stage: receive, fetch, decode, queue, encode, match, answer.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "dcc_refused", "Requests that were refused or given up.", ("reason",), registry=registry
        )
        self.batch_jobs = Histogram("dcc_batch_jobs", "Jobs of a batch.", buckets=_JOBS, registry=registry)
        self.lookups = Counter(
            "dcc_reference_lookups", "References that were asked for.", ("result",), registry=registry
        )
        self.removed = Counter(
            "dcc_references_removed", "References that were removed.", ("reason",), registry=registry
        )
        self.model = Gauge(
            "dcc_model_info",
            "1; the labels say what runs.",
            ("name", "digest", "backend"),
            registry=registry,
        )

    def follow(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is asked for when it is read."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def observe(self, stage: str, seconds: float) -> None:
        self.stage_seconds.labels(stage).observe(seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Observe how long a block takes."""
        started = time.monotonic()
        yield
        self.observe(stage, time.monotonic() - started)

    def text(self) -> bytes:
        """All values in Prometheus' format."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware that counts and times the answers of an application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 500  # what escapes as an exception becomes 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(time.monotonic() - started)
