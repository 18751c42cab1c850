"""Pictures by address: only from hosts that were named, and nothing that leads elsewhere."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from dccnet.runtime.errors import UsageError
from dccnet.service.urls import Fetcher, _is_public
from tests.helpers.service import check_problem, post, serving_app, stub_service
from tests.helpers.small_pictures import png


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path in ("/slow", "/slow-headers"):
            self.send_response(200)
            (self.end_headers if self.path == "/slow" else self.flush_headers)()
            try:
                for _ in range(50):
                    self.wfile.write(b"x" if self.path == "/slow" else b"X-Name: x\r\n")
                    time.sleep(0.05)
            except OSError:
                pass
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        content = {"/a.png": png(), "/large": bytes(5000)}.get(self.path)
        self.send_response(200 if content else 404)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    """``127.0.0.1:PORT`` of a server of files."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def said(fetcher: Fetcher, url: str, timeout_s: float = 5) -> str:
    with pytest.raises(UsageError) as error:
        fetcher.fetch(url, timeout_s)
    return str(error.value)


def test_only_named_hosts_are_asked_also_after_redirects(files: str) -> None:
    fetcher = Fetcher((files,), 4000, private=True)
    assert fetcher.fetch(f"http://{files}/a.png", 5) == png()
    assert fetcher.fetch(f"http://{files}/to//a.png", 5) == png()
    for url, says in (
        (f"http://{files}/to/http://example.com/", "not fetched from example.com:80"),
        (f"http://{files}/to/file:///etc/passwd", "not an address of the form"),
        (f"http://{files}/to//to//to//to//a.png", "leads to more than 3"),
        (f"http://localhost:{files.partition(':')[2]}/a.png", "not fetched from localhost"),
        ("http://127.0.0.1/a.png", "not fetched from 127.0.0.1:80"),
        (f"http://{files}@example.com/", "contains a user's name"),
        ("http://user:secret@example.com/", "***"),
        ("file:///etc/passwd", "not an address of the form"),
        ("/etc/passwd", "not an address of the form"),
        (f"http://{files}/a\r\nHost: x", "not an address of the form"),
        ("http://[::1/", "is not an address"),
        (f"http://{files}/none", "HTTP 404"),
        (f"http://{files}/large", "more than 4000 bytes"),
    ):
        assert says in said(fetcher, url), url
    for path in ("slow", "slow-headers"):
        started = time.monotonic()
        assert "did not arrive in time" in said(fetcher, f"http://{files}/{path}", 0.3)
        assert time.monotonic() - started < 2


def test_private_addresses_are_refused_unless_they_are_allowed(files: str) -> None:
    assert "has a private address" in said(Fetcher((files,), 4000, private=False), f"http://{files}/a.png")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::8.8.8.8", True),
        ("64:ff9b::10.0.0.1", False),
        ("2002:a00:1::", False),
        ("fec0::1", False),
        ("fe80::1%eth0", False),
        ("224.0.0.1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert _is_public(address) is public


def test_a_request_may_name_addresses_of_allowed_hosts(files: str) -> None:
    with serving_app(stub_service(url_hosts=(files,), private_urls=True)) as url:
        fields: Any = {"a_url": f"http://{files}/a.png", "points": "[[1, 2]]"}
        answer = requests.post(f"{url}/v1/match", data=fields, files={"b": png()}, timeout=60)
        assert answer.status_code == 200, answer.text
        check_problem(post(f"{url}/v1/match", fields, a=png(), b=png()), 422, "send picture A")
        elsewhere = {"a_url": "http://example.com/a.png"}
        check_problem(post(f"{url}/v1/match", elsewhere, b=png()), 422, "not fetched from example.com:80")
