"""Headless Chromium from Debian, driven by Playwright, to take pictures of pages and to test them; and a
server of their files."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dccnet.runtime.errors import DccError
from dccnet.runtime.extras import required
from dccnet.runtime.viewer.live.server import PageServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def chromium(more_flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A running browser, started with ``more_flags``, too.

    Raises :class:`DccError` if the browser or Playwright is not installed.
    """
    if shutil.which(CHROMIUM) is None:
        raise DccError(f"{CHROMIUM} does not exist: apt-get install chromium")
    with required("driving a browser", "dev"):
        from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *more_flags])
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a page with these files."""
    with PageServer(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def point_at(page: Page, place: tuple[float, float]) -> None:
    """Move the pointer to a place on picture A, given as shares of its width and height."""
    box = page.locator("[data-side=a] .stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"])
