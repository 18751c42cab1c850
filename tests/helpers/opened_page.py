"""A page of ``dcc view`` in a browser, with the actions and queries of the tests."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np


class OpenedPage:
    """A page, its requests and its error messages."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1200, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready]")
        self.settle()

    def settle(self) -> None:
        """Wait for two frames, after which everything is painted."""
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def text(self, name: str) -> str:
        return str(self.page.text_content(f"#{name}"))

    def point(self, name: str) -> list[float]:
        return [float(value) for value in self.text(name).split(",")]

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

    def choose(self, name: str, value: str | None = None) -> None:
        which = f"[value={value}]" if value else ""
        self.page.locator(f"input[name={name}]{which}").click()
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
