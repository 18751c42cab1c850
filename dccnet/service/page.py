"""The page at ``/``, where one drops two pictures; it shares styles and code with ``dcc view --live``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import APIRouter, HTTPException, Response

from dccnet.runtime.viewer.live.server import HEADERS, TYPES

_OWN = ("index.html", "service.css", "service.js")
_SHARED = {
    "dccnet.runtime.viewer": ("page.css", "colours.js", "shared.js"),
    "dccnet.runtime.viewer.live": ("live.css", "geometry.js", "inputs.js", "stage.js"),
}


def page_files() -> dict[str, bytes]:
    """The files of the page by name."""
    places = {"dccnet.service.page_files": _OWN, **_SHARED}
    return {
        name: files(place).joinpath(name).read_bytes() for place, names in places.items() for name in names
    }


def page_routes() -> APIRouter:
    """``/`` and ``/page/NAME``; they are not part of the API."""
    router, content = APIRouter(include_in_schema=False), page_files()

    @router.get("/")
    async def index() -> Response:
        return _response("index.html", content)

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        return _response(name, content)

    return router


def _response(name: str, content: dict[str, bytes]) -> Response:
    if name not in content:
        raise HTTPException(404)
    return Response(content[name], headers={**HEADERS, "Content-Type": TYPES[PurePosixPath(name).suffix]})
