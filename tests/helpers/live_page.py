"""The page of ``dcc view --live``, served to a browser, with the actions and queries of the tests."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dccnet.runtime.arrays import Image
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError
from dccnet.runtime.images import write_image
from dccnet.runtime.viewer.live.onnxruntime_web import CPU, Build, WebRuntime, find_web_runtime
from tests.helpers.browser_page import BrowserPage

Pair = tuple[Path, Path]
"""Files of the pictures A and B."""
DROP = """(files) => {
  const transfer = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const target = document.querySelector("figure .stage");
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  for (const kind of ["dragover", "drop"]) target.dispatchEvent(new DragEvent(kind, options));
}"""


PASTE = """([name, content]) => {
  const clipboardData = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  clipboardData.items.add(new File([bytes], name, { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
}"""
DECODE = """const decode = (text, Type) =>
  new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);"""
"""The inverse of :func:`encoded`, in JavaScript."""


def encoded(array: Any, dtype: str) -> str:
    """The bytes of an array as text: Playwright takes long for lists."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def web_runtime(build: Build = CPU) -> WebRuntime:
    """onnxruntime-web from the cache, or fetched into it. Where neither is possible, the test is skipped,
    and CI fails."""
    try:
        return find_web_runtime(build=build, fetch=True)
    except DccError as error:
        message = f"the live page cannot be tested without onnxruntime-web: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


class OpenedLivePage(BrowserPage):
    """A page, its requests and its messages."""

    def __init__(self, browser: Any, url: str, script: str = "", **options: Any) -> None:
        # The network takes all cores, and other tests run beside it.
        super().__init__(browser, url, timeout=60_000, script=script, **options)

    def drop(self, *pictures: Path) -> None:
        """Drop files on the page; one goes to A."""
        self.page.evaluate(
            DROP, [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in pictures]
        )

    def paste(self, picture: Path) -> None:
        content = base64.b64encode(picture.read_bytes()).decode()
        self.page.evaluate(PASTE, [picture.name, content])

    def match(self, a: Path, b: Path) -> None:
        """Drop two pictures and wait for all their matches."""
        before = self.page.get_attribute("body", "data-listed")
        self.drop(a, b)
        self.page.wait_for_function(f"() => document.body.dataset.listed > {before or 0}")
        self.settle()

    def text(self, name: str) -> str:
        return super().text(name).strip()

    def place(self, side: str, share: tuple[float, float]) -> tuple[float, float]:
        """Position on the screen of a place in a picture, given as a share of its width and height."""
        stage = self.page.locator(f"[data-side={side}] .stage")
        stage.scroll_into_view_if_needed()
        box = stage.bounding_box()
        return box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"]

    def hover(self, side: str, share: tuple[float, float]) -> None:
        self.page.mouse.move(*self.place(side, share))
        self.settle()

    def painted(self, side: str) -> bool:
        """Whether anything is painted over a picture."""
        return bool(
            self.page.evaluate(
                f"""() => {{ const c = document.querySelector("[data-side={side}] .overlay");
            const o = new OffscreenCanvas(c.width, c.height).getContext("2d", {{willReadFrequently: true}});
            o.drawImage(c, 0, 0);
            return o.getImageData(0, 0, c.width, c.height).data.some((value) => value > 0) }}"""
            )
        )

    def download(self, kind: str) -> bytes:
        with self.page.expect_download() as started:
            self.page.click(f"#downloads [value={kind}]")
        return Path(started.value.path()).read_bytes()


def write_pair(photo: Image, folder: Path) -> Pair:
    """A photograph and a warped view of it, of another size, as PNG, which every decoder reads alike."""
    height, width = photo.shape[:2]
    warp = np.array([[0.9, 0.12, 8], [-0.1, 0.95, 12]])
    size = (width - 30, height - 20)
    other = np.asarray(cv2.warpAffine(photo, warp, size, borderMode=cv2.BORDER_REFLECT), np.uint8)
    for name, image in (("a", photo), ("b", other)):
        write_image(folder / f"{name}.png", image)
    return folder / "a.png", folder / "b.png"


def check_equal(page: OpenedLivePage, expected: Correspondences) -> None:
    """Both files of matches are those of the runtime, whose numbers they round."""
    found, wanted = json.loads(page.download("json")), expected.to_dict()
    lists = ("a_to_b", "b_to_a")
    assert {k: v for k, v in found.items() if k not in lists} == {
        k: v for k, v in json.loads(json.dumps(wanted)).items() if k not in lists
    }
    table = list(csv.DictReader(io.StringIO(page.download("csv").decode())))
    for name in lists:
        assert found[name].keys() == wanted[name].keys()
        for field, values in wanted[name].items():
            np.testing.assert_allclose(found[name][field], values, atol=1.01e-3, err_msg=field)
        rows = [row for row in table if row["direction"] == name]
        places = [[float(row[column]) for column in ("x_a", "y_a", "x_b", "y_b")] for row in rows]
        np.testing.assert_allclose(
            places, np.hstack([found[name]["points_a"], found[name]["points_b"]]), atol=1e-9
        )
        assert [float(row["score"]) for row in rows] == found[name]["scores"]
        assert [row["confidence"] for row in rows] == [
            f"{value:.4f}" for value in found[name].get("confidence", [])
        ] or "confidence" not in found[name]
