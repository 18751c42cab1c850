"""The page at ``/`` in a real browser."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from dccnet.demo.browser import chromium
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError
from dccnet.runtime.images import write_image
from tests.helpers.live_page import OpenedLivePage, write_pair
from tests.helpers.service import serving_app, stub_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium())
        except DccError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI must open the page in a browser: {error}")
            pytest.skip(str(error))
        yield browser


def test_two_dropped_pictures_are_matched_and_places_found(
    browser: Any, photos: list[Image], tmp_path: Path
) -> None:
    a, b = write_pair(photos[1], tmp_path)
    with serving_app(stub_service(token="s3cret")) as url:
        opened = OpenedLivePage(browser, url)
        opened.page.wait_for_selector("#access:not([hidden])")
        for token in ("wrong", "s3cret"):
            opened.page.fill("#token", token)
            with opened.page.expect_response("**/v1/model"):
                opened.page.click("#access button")
        opened.page.wait_for_selector("body[data-ready]")
        opened.drop(a, b)
        opened.page.wait_for_selector("body[data-matched]")
        assert opened.text("count") == "484"
        assert opened.painted("a") and opened.painted("b")
        opened.page.mouse.click(*opened.place("a", (0.5, 0.5)))
        opened.page.wait_for_selector("body[data-selected]")
        found = [float(value) for value in opened.text("to").split(",")]
        height, width = photos[1].shape[:2]
        assert abs(found[0] - (width - 31) / 2) < 2 and abs(found[1] - (height - 21) / 2) < 2
        assert all(request.startswith((url, "data:", "blob:")) for request in opened.requests)
        refused = [
            text for text in opened.problems if "401" not in text
        ]  # without and with the wrong token
        assert refused == []
        (tmp_path / "no.png").write_bytes(b"nothing")
        opened.drop(tmp_path / "no.png")
        opened.page.wait_for_selector("#message.wrong")
        assert opened.text("message") == "no.png is no picture that this browser can show."


def test_pictures_are_matched_again_in_the_ways_that_are_chosen(
    browser: Any, photos: list[Image], tmp_path: Path
) -> None:
    """B is A, seen in a mirror."""
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    write_image(a, photos[1])
    write_image(b, np.ascontiguousarray(photos[1][:, ::-1]))
    with serving_app(stub_service(views=3)) as url:
        opened = OpenedLivePage(browser, url)
        opened.page.wait_for_selector("body[data-ready]")
        assert opened.page.locator("#views option:not([disabled])").count() == 2
        opened.drop(a, b)
        opened.page.wait_for_selector("body[data-matched='1']")
        assert opened.text("message").startswith("Matched in")
        opened.page.select_option("#mirror", "yes")
        opened.page.wait_for_selector("body[data-matched='2']")
        assert opened.text("message").startswith("Matched with A mirrored in")
        opened.page.select_option("#views", "3")
        opened.page.wait_for_selector("body[data-matched='3']")
        opened.page.mouse.click(*opened.place("a", (0.25, 0.5)))
        opened.page.wait_for_selector("body[data-selected]")
        found = [float(value) for value in opened.text("to").split(",")]
        height, width = photos[1].shape[:2]
        assert abs(found[0] - 0.75 * width) < width / 15 and abs(found[1] - 0.5 * height) < height / 15
        assert opened.problems == []


def test_the_page_may_load_nothing_from_elsewhere() -> None:
    with serving_app(stub_service()) as url:
        page = requests.get(url, timeout=60)
        assert "default-src 'none'" in page.text and "http" not in page.text.split("<body>")[1]
        assert page.headers["X-Content-Type-Options"] == "nosniff"
