"""A server of the page's files and nothing else, for this machine alone."""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from dccnet.runtime.errors import DccError

HOST = "127.0.0.1"
TYPES = {
    ".avif": "image/avif",
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
}
HEADERS = {
    # Browsers share memory between threads only on pages that are isolated from others.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PageServer(ThreadingHTTPServer):
    """Serves ``files`` on this machine's own address; ``port`` 0 is a free one.

    Raises :class:`DccError` for a port that is in use or not allowed.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], port: int = 0) -> None:
        self.files = files
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            reason = "in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise DccError(f"port {port} is not to be had ({reason}): name another with --port") from error

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What browsers call this server; they leave out the port 80."""
        names = (HOST, "localhost")
        with_port = tuple(f"{name}:{self.server_port}" for name in names)
        return (*with_port, *names) if self.server_port == 80 else with_port

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A tab that is closed while files arrive is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def _answer(self, *, with_content: bool) -> None:
        # A page of somebody else whose name leads to this machine must not read the bundle.
        if self.headers.get("Host") not in self.server.hosts:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"unknown host\n", with_content)
            return
        name = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        content = self.server.files.get(name)
        if content is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n", with_content)
            return
        kind = TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
        self._send(HTTPStatus.OK, kind, content, with_content)

    def _send(self, status: HTTPStatus, kind: str, content: bytes, with_content: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: requests of the user's own browser are no news."""
