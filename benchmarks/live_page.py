"""The live page in headless Chromium: bytes it loads, time to its first match, and time of a hover.

    python benchmarks/live_page.py [BUNDLE] [--pictures A B] [--rounds 3] [--json FILE]

It needs onnxruntime-web in the cache (dcc view --live --fetch). Seconds of a match are from the pictures to
the page's answer, once the network is loaded; milliseconds of a hover are the handler's and the painting's.
Load is the system's average over the last minute: other programs on the machine slow the page down.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

from results import save

from dccnet.demo.browser import chromium, serving
from dccnet.runtime.models.names import open_bundle
from dccnet.runtime.viewer.live.folder import live_page
from dccnet.runtime.viewer.live.onnxruntime_web import find_web_runtime

# Times of all callbacks that paint.
TIMED = """
  const request = window.requestAnimationFrame.bind(window);
  window.painted = [];
  window.requestAnimationFrame = (callback) => request((now) => {
    const started = performance.now();
    callback(now);
    window.painted.push(performance.now() - started);
  });
"""
# -> milliseconds of 200 hovers over A: of the handler, and of the painting.
HOVERS = """async () => {
  const stage = document.querySelector("[data-side=a] .stage");
  const box = stage.getBoundingClientRect();
  const times = [];
  for (let i = 0; i < 200; i++) {
    const [x, y] = [(i * 0.618) % 1, i / 200];
    const place = { clientX: box.left + box.width * x, clientY: box.top + box.height * y };
    window.painted = [];
    const started = performance.now();
    const options = { ...place, pointerType: "mouse", bubbles: true };
    stage.dispatchEvent(new PointerEvent("pointermove", options));
    const handled = performance.now() - started;
    await new Promise((done) => setTimeout(() => window.requestIdleCallback(done), 20));
    times.push(handled + Math.max(0, ...window.painted));
  }
  return times }"""


class Counted(dict[str, bytes]):
    """Files that count the bytes that are asked for."""

    loaded = 0

    def get(self, name: str, default: Any = None) -> Any:
        content = super().get(name, default)
        self.loaded += len(content or b"")
        return content


def measure(browser: Any, url: str, files: Counted, pictures: tuple[Path, Path]) -> dict[str, float]:
    files.loaded = 0
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    page.add_init_script(TIMED)
    started = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    ready = time.perf_counter() - started

    def choose(side: str, picture: Path) -> None:
        page.set_input_files(f"figure[data-side={side}] .tools input", str(picture))

    started = time.perf_counter()
    choose("a", pictures[0])
    choose("b", pictures[1])
    number = page.wait_for_function("() => document.body.dataset.matched").json_value()
    first = time.perf_counter() - started
    page.wait_for_selector("body[data-listed]")
    started = time.perf_counter()
    choose("b", pictures[0])
    page.wait_for_function(f"() => document.body.dataset.matched > {number}")
    again = time.perf_counter() - started
    page.wait_for_function(f"() => document.body.dataset.listed > {number}")
    hovers = page.evaluate(HOVERS)
    page.context.close()
    return {
        "loaded_mb": files.loaded / 1e6,
        "ready_s": ready,
        "first_match_s": first,
        "next_match_s": again,
        "hover_ms": statistics.median(hovers),
        "slowest_hover_ms": max(hovers),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--pictures", nargs=2, type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    given = parser.parse_args()
    if given.pictures is None:
        from dccnet.export.bundles.samples import PICTURES

        given.pictures = sorted(PICTURES.glob("*.jpg"))[:2]
    bundle = open_bundle(given.bundle)
    files = Counted(live_page(bundle, bundle.path.name, find_web_runtime()).files)
    with chromium() as browser, serving(files) as url:
        rounds = [measure(browser, url, files, tuple(given.pictures)) for _ in range(given.rounds)]
    for name in rounds[0]:
        print(f"{name:16}", *(f"{row[name]:8.2f}" for row in rounds))
    save(given.json, rounds=rounds)


if __name__ == "__main__":
    main()
