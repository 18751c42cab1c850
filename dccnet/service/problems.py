"""Errors as problem details (RFC 9457): every answer that is no success is JSON with one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from dccnet.runtime.errors import DccError, ImageError, UsageError
from dccnet.runtime.messages import warn

MEDIA_TYPE = "application/problem+json"
_SENTENCES = {
    404: "there is nothing at this address: GET /openapi.json lists what there is",
    405: "this address does not take this method: GET /openapi.json lists those that it takes",
    500: "the server failed at this request: its log says how",
}


def problem(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response with ``type``, ``title``, ``status`` and ``detail``, which is ``sentence``."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": sentence,
    }
    return Response(json.dumps(content), status, dict(headers or {}), MEDIA_TYPE)


def unprocessable(sentence: str) -> HTTPException:
    return HTTPException(422, sentence)


def busy(sentence: str, retry_s: float) -> HTTPException:
    """503, to be tried again after some seconds."""
    return HTTPException(503, sentence, {"Retry-After": str(max(round(retry_s), 1))})


def install_problems(app: FastAPI) -> None:
    """Let every error of ``app`` be a problem."""
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(DccError, _dcc)
    app.add_exception_handler(Exception, _unexpected)


async def _http(_: Request, error: Any) -> Response:
    usual = HTTPStatus(error.status_code).phrase
    sentence = error.detail if error.detail != usual else _SENTENCES.get(error.status_code, usual)
    return problem(error.status_code, sentence, error.headers)


async def _validation(_: Request, error: Any) -> Response:
    return problem(422, _first(error.errors()))


async def _dcc(_: Request, error: Exception) -> Response:
    """What the request contains is wrong, or what this server runs: only the first is told the client."""
    if isinstance(error, (ImageError, UsageError)):
        return problem(422, str(error))
    warn(str(error))
    return problem(500, _SENTENCES[500])


async def _unexpected(_: Request, error: Exception) -> Response:
    return problem(500, _SENTENCES[500])


def _first(errors: Sequence[Any]) -> str:
    """A sentence about the first of pydantic's errors."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "path", "query"))
    message = str(first["msg"])
    message = message[:1].lower() + message[1:]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: {message}{more}" if place else message + more
