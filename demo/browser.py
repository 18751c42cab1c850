"""Headless Chromium from Debian, driven by Playwright, to take pictures of pages and to test them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dccnet.runtime.errors import DccError
from dccnet.runtime.extras import required

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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
