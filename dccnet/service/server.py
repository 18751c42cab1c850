"""uvicorn around the application: an address that is bound first, and a stop that lets requests end."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from dccnet.runtime.errors import DccError

_BACKLOG = 128
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def bind(host: str, port: int) -> socket.socket:
    """A socket on ``host``, a name or an address; port 0 is a free one.

    Raises :class:`DccError` for a port that is in use or not allowed, and for a host that is not this
    machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise DccError(f"{host} is no address of this machine: name another with --host") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)  # now, because the address is said before the event loop starts
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise DccError(f"{host} is no address of this machine: name another with --host") from error
        reason = "in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise DccError(f"port {port} is not to be had ({reason}): name another with --port") from error
    return bound


def url_of(bound: socket.socket, host: str) -> str:
    """``http://127.0.0.1:8000``."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{bound.getsockname()[1]}"


class _Server(uvicorn.Server):
    """Calls ``on_stop`` as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_stop()
        super().handle_exit(sig, frame)


def run(app: FastAPI, bound: socket.socket, grace_s: float, on_stop: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests that are running then have ``grace_s`` seconds to end.

    ``on_stop`` is called at the signal, from its handler. A second SIGINT ends the server at once.
    """
    config = uvicorn.Config(
        app,
        backlog=_BACKLOG,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=max(round(grace_s), 1),
        h11_max_incomplete_event_size=64 << 10,
        http="h11",
        ws="none",
    )
    server = _Server(config, on_stop)
    # A signal before uvicorn handles them must not be lost; it raises them again when it has stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    server.run(sockets=[bound])
