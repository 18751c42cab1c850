"""Draws the pictures of the README and the docs with the tool itself.

Run ``python -m dccnet.demo.pictures MODEL FOLDER``, or ``make picture``, which trains MODEL in the demo.
The photograph is from scikit-image, in the public domain, and not one that the demo trains on. Its second
view is a random warp, so the true matches are known.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dccnet.demo.browser import chromium
from dccnet.demo.photographs import HELD_OUT, write_photographs
from dccnet.evaluation.pairs import Pair
from dccnet.export.build import export_bundle
from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.files import atomic_path, write_text
from dccnet.runtime.images import find_images, write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.scratch import temporary_folder
from dccnet.runtime.viewer.page import build_page
from dccnet.training.synthetic import synthetic_pairs
from dccnet.weights.checkpoint import load_checkpoint

SEED = 1000
SIZE = (360, 480)
"""(height, width) of each view in pixels."""
LINES = 40
WITHIN = 24.0
"""Largest error of a hit in pixels: one twentieth of the width."""
POINTS = 12
WINDOW = {"width": 1200, "height": 780}


def make_pictures(model: Path, folder: Path) -> list[Path]:
    """Write ``warp.jpg``, ``grid.jpg``, ``overlay.jpg``, ``truth.jpg`` and the page as ``view-*.jpg``."""
    with temporary_folder() as scratch:
        write_photographs(scratch / "photographs", HELD_OUT)
        bundle = export_bundle(load_checkpoint(model), scratch / "bundle", find_images(PICTURES), maps=True)
        if not bundle.manifest.verified:
            raise NotVerifiedError(f"{model} does not agree with its export: use another network")
        (cat,) = synthetic_pairs([scratch / "photographs" / "cat.png"], 1, SEED, SIZE)
        matcher = Matcher.open(bundle)
        drawings = _draw(matcher, cat, folder)
        page = _page(matcher, cat, scratch / "page.html")
        return drawings + _screenshots(page, folder)


def _draw(matcher: Matcher, pair: Pair, folder: Path) -> list[Path]:
    a, b = pair.source.load(), pair.target.load()
    result = matcher.match(a, b)
    assert pair.source_points is not None and pair.target_points is not None
    some = np.linspace(0, len(pair.source_points) - 1, POINTS).astype(int)
    points, truth = pair.source_points[some], pair.target_points[some]
    pictures = {
        "warp.jpg": result.draw(a, b, limit=LINES),
        "grid.jpg": result.draw(a, b, style="grid"),
        "overlay.jpg": result.draw(a, b, style="warp"),
        "truth.jpg": result.draw_truth(a, b, points, truth, WITHIN),
    }
    for name, picture in pictures.items():
        write_image(folder / name, picture)
    return [folder / name for name in pictures]


def _page(matcher: Matcher, pair: Pair, path: Path) -> Path:
    a, b = pair.source.load(), pair.target.load()
    grid = matcher.manifest.grid
    network = f"{matcher.manifest.model['backbone']}, {grid[0]}×{grid[1]} cells"
    write_text(path, build_page(matcher.match(a, b), a, b, ("cat.jpg", "warped.jpg"), network).html)
    return path


def _screenshots(page: Path, folder: Path) -> list[Path]:
    """Screenshots of the page, light and dark, with the pointer on the left picture."""
    written = []
    with chromium() as browser:
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport=WINDOW, color_scheme=scheme)  # type: ignore[arg-type]
            tab = context.new_page()
            tab.goto(page.as_uri())
            tab.wait_for_selector("body[data-ready]")
            box = tab.locator("[data-side=a] .stage").bounding_box()
            assert box is not None
            tab.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.4 * box["height"])
            tab.wait_for_function("document.querySelector('.match') !== null")
            path = folder / f"view-{scheme}.jpg"
            with atomic_path(path) as temporary:
                tab.screenshot(path=temporary, quality=90)
            written.append(path)
            context.close()
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a checkpoint (.safetensors)")
    parser.add_argument("folder", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    for path in make_pictures(arguments.model, arguments.folder):
        print(path)


if __name__ == "__main__":
    main()
