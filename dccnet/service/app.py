"""The service over HTTP: a FastAPI application around a :class:`~dccnet.service.core.Service`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from dccnet.service import schemas
from dccnet.service.core import Service
from dccnet.service.forms import problems
from dccnet.service.guard import Guard
from dccnet.service.matching import matching_routes
from dccnet.service.metrics import Measured
from dccnet.service.page import page_routes
from dccnet.service.problems import install_problems
from dccnet.service.reference_routes import reference_routes

_METRICS = "text/plain; version=0.0.4; charset=utf-8"


def create_app(service: Service) -> FastAPI:
    """The application. It closes ``service`` when it ends, not the matcher."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    description = service.describe()
    app = FastAPI(
        title="dcc",
        summary="Semantic correspondence: where a place of one picture lies in another.",
        version=description["version"],
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    install_problems(app)
    app.include_router(matching_routes(service))
    if service.settings.reference_bytes:
        app.include_router(reference_routes(service))
    app.include_router(_state_routes(service))
    app.include_router(page_routes())
    app.add_middleware(Guard, settings=service.settings, gate=service.gate, observe=service.metrics.observe)
    app.add_middleware(Measured, metrics=service.metrics)
    return app


def _state_routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/model", response_model=schemas.Model, tags=["state"], summary="What runs here")
    async def model() -> Any:
        return service.describe()

    @router.get("/healthz", response_model=schemas.State, tags=["state"], summary="Whether it lives")
    async def healthz() -> Any:
        return {"status": "ok"}

    @router.get(
        "/readyz",
        response_model=schemas.State,
        responses=problems(503),
        tags=["state"],
        summary="Whether it takes requests",
    )
    async def readyz() -> Any:
        if not service.ready:
            raise service.gate.stopped()
        return {"status": "ready"}

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        tags=["state"],
        summary="Counters for Prometheus",
    )
    async def metrics(_: Request) -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": _METRICS})

    return router
