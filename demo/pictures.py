"""Draws the pictures of the README and the docs with the tool itself.

Run ``python -m dccnet.demo.pictures FOLDER``, or ``make picture``. The pictures show different animals,
matched by the built-in model; the page with heat maps is that of the same network in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from dccnet.demo.animals import MARKED, animal
from dccnet.demo.browser import chromium, point_at
from dccnet.export.build import export_bundle
from dccnet.export.bundles.samples import PICTURES
from dccnet.network.config import PRESETS
from dccnet.runtime.alignment.morph import Morph, MorphSettings
from dccnet.runtime.drawing.matches import draw_points
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.files import atomic_path, write_text
from dccnet.runtime.images import find_images, write_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.video.animation import write_animation
from dccnet.runtime.viewer.page import build_page
from dccnet.training.initial import initial_network
from dccnet.weights.pretrained import IMAGENET

TRUTH = ((176.0, 283.0), (320.0, 299.0), (221.0, 420.0), (262.0, 195.0))
"""Pixels (x, y) of the raccoon's eyes, nose and forehead, placed by hand."""
WITHIN = 28.0
"""Largest error of a hit in pixels: one twentieth of the raccoon's width."""
CLOSE_UP = (95, 110, 280, 330)
"""Top, left, height and width in pixels of a close-up of the raccoon."""
POINTED = (171 / 451, 111 / 300)
"""Where the pointer is on the cat in the pictures of the page: its left eye."""
MORPHS = {
    "morph.webp": ("cat", "raccoon", MorphSettings(seconds=3, rate=10, longest=330)),
    "morph-moose.webp": ("moose", "raccoon", MorphSettings(seconds=3, rate=10, longest=280)),
    "morph-beside.webp": ("raccoon", "cat", MorphSettings(3, 8, 230, side_by_side=True)),
}
WINDOW = {"width": 1200, "height": 780}


def make_pictures(folder: Path) -> list[Path]:
    """Write all pictures to ``folder``."""
    with Matcher.open() as matcher:
        drawings = [*_draw(matcher, folder), _views(matcher, folder), *_morphs(matcher, folder)]
    return drawings + _screenshots(folder)


def _draw(matcher: Matcher, folder: Path) -> list[Path]:
    a, b = animal("cat"), animal("raccoon")
    result = matcher.match(a, b)
    pictures = {
        "points.jpg": draw_points(a, b, result.carry(MARKED, from_="a")),
        "lines.jpg": result.draw(a, b),
        "grid.jpg": result.draw(a, b, style="grid"),
        "warp.jpg": result.draw(a, b, style="warp"),
        "truth.jpg": result.draw_truth(a, b, MARKED, TRUTH, WITHIN),
    }
    for name, picture in pictures.items():
        write_image(folder / name, picture)
    return [folder / name for name in pictures]


def _views(matcher: Matcher, folder: Path) -> Path:
    """The raccoon and a close-up of it: hits and misses with one view, and below with three."""
    top, left, height, width = CLOSE_UP
    a, margin = animal("raccoon"), np.array([30, 25])
    b = a[top : top + height, left : left + width]
    columns, rows = (
        np.linspace(m, side - m, n) for m, side, n in zip(margin, (width, height), (5, 4), strict=True)
    )
    truth = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    points = truth + np.array([left, top])
    drawings = [matcher.match(a, b, views=n).draw_truth(a, b, points, truth, width / 20) for n in (1, 3)]
    both = np.concatenate(drawings)
    size = round(0.7 * both.shape[1]), round(0.7 * both.shape[0])
    write_image(
        folder / "views.jpg", np.asarray(cv2.resize(both, size, interpolation=cv2.INTER_AREA), np.uint8)
    )
    return folder / "views.jpg"


def _morphs(matcher: Matcher, folder: Path) -> list[Path]:
    for name, (first, second, settings) in MORPHS.items():
        a, b = animal(first), animal(second)
        frames = list(Morph(matcher.match(a, b), a, b, settings).frames())
        write_animation(folder / name, frames, settings.rate)
    return [folder / name for name in MORPHS]


def _screenshots(folder: Path) -> list[Path]:
    """Pictures of the page of ``dcc view``, light and dark, with the pointer on the left picture."""
    written = []
    with tempfile.TemporaryDirectory() as name:
        page = _page(Path(name))
        with chromium() as browser:
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport=WINDOW, color_scheme=scheme)  # type: ignore[arg-type]
                tab = context.new_page()
                tab.goto(page.as_uri())
                tab.wait_for_selector("body[data-ready]")
                point_at(tab, POINTED)
                tab.wait_for_function("document.querySelector('.match') !== null")
                path = folder / f"view-{scheme}.jpg"
                with atomic_path(path) as temporary:
                    tab.screenshot(path=temporary, quality=90)
                written.append(path)
                context.close()
    return written


def _page(scratch: Path) -> Path:
    network = initial_network(PRESETS["small"], IMAGENET, "plain", both_ways=True, seed=1)
    bundle = export_bundle(network, scratch / "bundle", find_images(PICTURES), maps=True)
    if not bundle.manifest.verified:
        raise NotVerifiedError("small does not agree with its export: please report this")
    a, b = animal("cat"), animal("raccoon")
    with Matcher.open(bundle) as matcher:
        page = build_page(matcher.match(a, b), a, b, ("cat.jpg", "raccoon.jpg"), "small, without training")
    write_text(scratch / "page.html", page.html)
    return scratch / "page.html"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write to")
    for path in make_pictures(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
