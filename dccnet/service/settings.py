"""What a service allows, and how long it takes; every number can be set by an option of ``dcc serve``."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dccnet.runtime.errors import UsageError

TOKEN = "DCC_TOKEN"
"""The environment variable with the bearer token."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of a service. Raises :class:`UsageError` for an empty token."""

    body_bytes: int = 32 << 20
    """Of one request, headers not counted."""
    pixels: int = 50_000_000
    """Of one picture."""
    points: int = 1000
    """Of one request."""
    views: int = 8
    """Of a pair of one request, for each way round."""
    queue: int = 32
    """Requests that are received, wait or are computed at a time; a further one is refused."""
    batch: int = 4
    """Pairs that are matched in one run, at most."""
    batch_wait_s: float = 0.005
    """How long the first request of a batch waits for others."""
    timeout_s: float = 30.0
    """From a request's last byte to its answer."""
    receive_s: float = 30.0
    """From a request's headers to its last byte."""
    reference_bytes: int = 1 << 30
    """Of all references together: features and small pictures."""
    reference_s: float = 3600.0
    """How long a reference is kept after its last use."""
    token: str | None = None
    """What ``Authorization: Bearer`` must contain; None: everybody may ask."""
    url_hosts: tuple[str, ...] = ()
    """Hosts that pictures may be fetched from, ``NAME`` or ``NAME:PORT``."""
    private_urls: bool = False
    """Whether these hosts may have addresses of a private network."""
    host_names: tuple[str, ...] | None = None
    """What clients may call this server (the header ``Host``, without a port); None: anything."""

    def __post_init__(self) -> None:
        if self.token is not None and not self.token.strip():
            raise UsageError(f"{TOKEN} is empty: unset it, or set it to a long random text")


def token_of_environment() -> str | None:
    """The bearer token in ``DCC_TOKEN``; None where it is not set."""
    return os.environ.get(TOKEN)
