"""Fetching pictures from addresses: only from hosts that were allowed, and only so much, for so long."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from dccnet.runtime.addresses import without_secrets
from dccnet.runtime.errors import UsageError

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = 3
_BLOCK = 1 << 16
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses that end in an IPv4 address, to which a network with NAT64 leads."""


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked: asking for the name again could give another one."""

    def __init__(self, host: str, port: int, address: str, until: float, *, encrypted: bool) -> None:
        super().__init__(host, port)
        self._address, self._until, self._encrypted = address, until, encrypted
        self._open: socket.socket | None = None

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), left(self._until))
        if self._encrypted:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)
        self._open = self.sock  # http.client lets go of its own before the content is read

    @contextlib.contextmanager
    def cut_in_time(self) -> Iterator[None]:
        """In this block, the connection ends in time: a socket's own limit starts again at each byte."""
        timer = threading.Timer(left(self._until), self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self.close()

    def _cut(self) -> None:
        if self._open is not None:
            with contextlib.suppress(OSError):  # it is closed
                socket.socket.shutdown(
                    self._open, socket.SHUT_RDWR
                )  # not that of TLS, for one thread alone


class Fetcher:
    """Fetches from ``hosts`` (``NAME`` or ``NAME:PORT``), whose addresses are public unless ``private``.

    Proxies of the environment are not used. At most ``most`` bytes are taken.
    """

    def __init__(self, hosts: tuple[str, ...], most: int, *, private: bool) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._most, self._private = most, private

    def fetch(self, url: str, timeout_s: float) -> bytes:
        """The content at an address, within ``timeout_s`` seconds in all, redirects included.

        Raises :class:`UsageError` for what is not allowed and for what does not arrive.
        """
        until, shown = time.monotonic() + timeout_s, without_secrets(url)[:200]
        try:
            for _ in range(_REDIRECTS + 1):
                connection = self._connection(url, until)
                with connection.cut_in_time():
                    content = self._get(connection, url, until)
                if isinstance(content, bytes):
                    return content
                url = urljoin(url, content.location)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) or time.monotonic() >= until:
                raise UsageError(f"{shown} did not arrive in time: send the picture itself") from None
            raise UsageError(f"{shown} cannot be fetched ({type(error).__name__})") from error
        raise UsageError(f"{shown} leads to more than {_REDIRECTS} other addresses")

    def _connection(self, url: str, until: float) -> _Pinned:
        """Raises :class:`UsageError` where the address, or one of a redirect, is not allowed."""
        shown = without_secrets(url)[:200]
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise UsageError(f"{shown} is not an address") from None
        usual = _PORTS.get(parts.scheme)
        if usual is None or not host or not url.isascii() or any(c <= " " for c in url):
            raise UsageError(f"{shown} is not an address of the form https://HOST/PATH")
        if parts.username is not None:
            raise UsageError(f"{shown} contains a user's name: it is not fetched")
        port = usual if port is None else port
        if f"{host}:{port}" not in self._hosts and not (host in self._hosts and port == usual):
            raise UsageError(f"pictures are not fetched from {host}:{port}: send the picture itself")
        return _Pinned(host, port, self._resolved(host, port), until, encrypted=parts.scheme == "https")

    def _resolved(self, host: str, port: int) -> str:
        """An address of the host; all of them must be allowed."""
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if not self._private and not all(_is_public(address) for address in found):
            raise UsageError(f"{host} has a private address: pictures are not fetched from there")
        return found[0]

    def _get(self, connection: _Pinned, url: str, until: float) -> bytes | _Redirect:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "image/*", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        location = response.headers.get("Location")
        if response.status in (301, 302, 303, 307, 308) and location:
            return _Redirect(location)
        shown = without_secrets(url)[:200]
        if response.status != 200:
            raise UsageError(f"{shown} cannot be fetched (HTTP {response.status})")
        return self._read(response, connection, shown, until)

    def _read(self, response: Any, connection: _Pinned, shown: str, until: float) -> bytes:
        content = bytearray()
        while block := response.read1(_BLOCK):
            content += block
            if len(content) > self._most:
                raise UsageError(f"{shown} has more than {self._most} bytes: send a smaller picture")
            if connection.sock is not None:
                connection.sock.settimeout(left(until))
            left(until)
        left(until)  # a connection that was cut looks like the end of the content
        return bytes(content)


class _Redirect:
    def __init__(self, location: str) -> None:
        self.location = location


def left(until: float) -> float:
    """Seconds until a moment of the monotonic clock. Raises ``TimeoutError`` when it has passed."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        within = found.ipv4_mapped or found.sixtofour
        if found in _TRANSLATED:
            within = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if within is not None:
            return _is_public(str(within))
    return found.is_global and not found.is_multicast and not getattr(found, "is_site_local", False)
