"""A page of ``dcc view`` in a browser, with the actions and queries of the tests."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.browser_page import BrowserPage


class OpenedPage(BrowserPage):
    """A page, its requests and its error messages."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        super().__init__(browser, path.as_uri(), timeout=10_000, **options)
        self.page.wait_for_selector("body[data-ready]")
        self.settle()

    def place(self, side: str, x: float, y: float) -> tuple[float, float]:
        """Position of a picture's pixel on the screen."""
        box = self.page.locator(f"[data-side={side}] .stage").bounding_box()
        width, height = self.page.evaluate(
            f"() => [pair.pictures.{side}.width, pair.pictures.{side}.height]"
        )
        return box["x"] + (x + 0.5) / width * box["width"], box["y"] + (y + 0.5) / height * box["height"]

    def hover(self, side: str, x: float, y: float) -> None:
        self.page.mouse.move(*self.place(side, x, y))
        self.settle()

    def painted(self, side: str) -> Any:
        """The canvas over a picture, (H, W, 4) uint8 RGBA."""
        text, width, height = self.page.evaluate(
            f"""() => {{ const c = document.querySelector("[data-side={side}] canvas");
            const o = new OffscreenCanvas(c.width, c.height).getContext("2d", {{willReadFrequently: true}});
            o.drawImage(c, 0, 0);
            const d = o.getImageData(0, 0, c.width, c.height).data;
            let s = ""; for (let i = 0; i < d.length; i += 8192)
              s += String.fromCharCode(...d.subarray(i, i + 8192));
            return [btoa(s), c.width, c.height] }}"""
        )
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
