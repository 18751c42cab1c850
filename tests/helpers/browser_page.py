"""A page of ``dcc view`` in a browser: what the tests of both pages do with theirs."""

from __future__ import annotations

from typing import Any


class BrowserPage:
    """A page, its requests and its messages."""

    def __init__(self, browser: Any, url: str, *, timeout: float, script: str = "", **options: Any) -> None:
        """``timeout`` is in milliseconds; ``script`` runs before those of the page."""
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(timeout)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        if script:
            self.page.add_init_script(script)
        self.page.goto(url)

    def settle(self) -> None:
        """Wait for two frames, after which everything is painted."""
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def text(self, name: str) -> str:
        return str(self.page.text_content(f"#{name}"))

    def point(self, name: str) -> list[float]:
        return [float(value) for value in self.text(name).split(",")]

    def choose(self, name: str, value: str | None = None) -> None:
        which = f"[value={value}]" if value else ""
        self.page.locator(f"input[name={name}]{which}").click()
        self.settle()
