"""Takes the picture of the live page in the docs.

Run ``python -m dccnet.demo.live_picture A B docs/live.jpg``, with two photographs; it needs onnxruntime-web
in the cache (``dcc view --live --fetch``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dccnet.demo.browser import chromium, point_at, serving
from dccnet.runtime.files import atomic_path
from dccnet.runtime.models.names import DEFAULT, open_bundle
from dccnet.runtime.viewer.live.folder import live_page
from dccnet.runtime.viewer.live.onnxruntime_web import find_web_runtime

PLACE = (0.385, 0.35)
"""Of the pointer on picture A, as shares of its width and height."""
WIDTH, HEIGHT = 1200, 760
LONGEST_MS = 120_000.0


def take_picture(a: Path, b: Path, path: Path) -> None:
    """Write a screenshot of the page that matches ``a`` and ``b`` with the built-in model."""
    page = live_page(open_bundle(), DEFAULT, find_web_runtime(), [a, b])
    with chromium() as browser, serving(page.files) as url:
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab.goto(url)
        tab.wait_for_selector("body[data-listed]", timeout=LONGEST_MS)
        point_at(tab, PLACE)
        tab.wait_for_timeout(200)
        with atomic_path(path) as temporary:
            tab.screenshot(path=temporary, type="jpeg", quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("a", "b", "picture"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    take_picture(arguments.a, arguments.b, arguments.picture)


if __name__ == "__main__":
    main()
