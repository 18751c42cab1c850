"""What is checked before a request's body is read, and while it is: who asks, how much, how fast."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dccnet.service.gate import Gate
from dccnet.service.problems import problem
from dccnet.service.settings import Settings

FREE = ("/", "/healthz", "/readyz", "/openapi.json")
"""What may be asked for without the token, with all below ``/page/``: nothing of it is about pictures."""
PROBES = ("/healthz", "/readyz")
"""What may be asked for by any name of the server: those that watch it call it by its address."""
_LINGER_S = 2.0
"""For how long the rest of a body that is too large is thrown away before the answer: a client that is
still sending would otherwise see a broken connection instead of the answer."""


class Guard:
    """ASGI middleware; ``observe`` is called with ``receive`` and the seconds that a body took."""

    def __init__(
        self, app: ASGIApp, settings: Settings, gate: Gate, observe: Callable[[str, float], None]
    ) -> None:
        self.app, self.settings, self.gate, self.observe = app, settings, gate, observe
        names = settings.host_names
        self._names = None if names is None else {_without_port(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
            if scope["method"] != "POST":
                await self.app(scope, receive, send)
                return
            await self._check_length(scope, receive)
            with self.gate.entered():
                await self.app(scope, _Body(receive, self.settings, self.observe).receive, send)
        except HTTPException as error:
            await problem(error.status_code, error.detail, error.headers)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises 421 for a name that is not this server's, and 401 for another token."""
        headers, path, settings = Headers(scope=scope), scope["path"], self.settings
        host = _without_port(headers.get("host", ""))
        # A page of somebody else whose name leads to this machine must not use the service.
        if self._names is not None and host not in self._names and path not in PROBES:
            raise HTTPException(
                421,
                f"this server is not called {host[:100]!r}: start it with --allow-host, if it should be",
            )
        if settings.token is None or path in FREE or path.startswith("/page/"):
            return
        given = headers.get("authorization", "")
        kind, _, token = given.partition(" ")
        right = hmac.compare_digest(token.strip().encode(), settings.token.strip().encode())
        if kind.lower() != "bearer" or not right:
            said = "this token is wrong" if given else "this server wants a token"
            raise HTTPException(
                401, f"{said}: send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )

    async def _check_length(self, scope: Scope, receive: Receive) -> None:
        """Raises 413 for a request that declares a body that is too large."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.settings.body_bytes:
            if headers.get("expect", "").lower() != "100-continue":  # else nothing has been sent yet
                await _throw_away(receive, self.settings.body_bytes)
            raise _too_large(self.settings.body_bytes)


class _Body:
    """A request's body, up to a size and within a time."""

    def __init__(self, receive: Receive, settings: Settings, observe: Callable[[str, float], None]) -> None:
        self._receive, self._settings, self._observe = receive, settings, observe
        self._started, self._bytes, self._complete = time.monotonic(), 0, False

    async def receive(self) -> Message:
        """The next part. Raises 408 and 413."""
        if self._complete:  # what comes now is only the end of the connection
            return await self._receive()
        left = self._started + self._settings.receive_s - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0))
        except asyncio.TimeoutError:
            raise HTTPException(
                408,
                f"the request did not arrive within {self._settings.receive_s:g} s: send smaller pictures",
                {"Connection": "close"},
            ) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._settings.body_bytes:
            await _throw_away(self._receive, self._settings.body_bytes)
            raise _too_large(self._settings.body_bytes)
        self._complete = not message.get("more_body", False)
        if self._complete:
            self._observe("receive", time.monotonic() - self._started)
        return message


async def _throw_away(receive: Receive, most: int) -> None:
    """Take up to ``most`` bytes of a body for :data:`_LINGER_S` seconds, and keep none."""
    until = time.monotonic() + _LINGER_S
    try:
        while most > 0:
            message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0))
            most -= len(message.get("body", b""))
            if not message.get("more_body", False):
                return
    except asyncio.TimeoutError:
        return


def _too_large(limit: int) -> HTTPException:
    return HTTPException(
        413, f"the request has more than {limit} bytes: send smaller pictures", {"Connection": "close"}
    )


def _without_port(host: str) -> str:
    """``localhost`` of ``localhost:8000``, ``[::1]`` of ``[::1]:8000``."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()
