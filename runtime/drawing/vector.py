"""Matches as a vector drawing for papers: PDF or SVG, by matplotlib (the extra ``plot``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.drawing.choosing import choose_matches
from dccnet.runtime.drawing.legend import describe
from dccnet.runtime.drawing.matches import LINES, colours_of, opacities
from dccnet.runtime.extras import required
from dccnet.runtime.files import atomic_path
from dccnet.runtime.point_matches import PointMatches

VECTORS = (".pdf", ".svg")
_WIDTH = 7.0  # inches: the text width of a paper
_GAP = 0.02  # between the pictures, whose height is 1
_LEGEND = 0.3  # inches


def write_lines(
    path: Path, image_a: Image, image_b: Image, matches: PointMatches, limit: int = LINES
) -> None:
    """Write what :func:`~dccnet.runtime.drawing.matches.draw_matches` draws, by suffix, atomically. Lines
    and text can be edited. Raises :class:`DccError`, also without matplotlib."""
    suffix = path.suffix.lower()
    with required(f"writing {suffix}", "plot"):
        import matplotlib as mpl
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure
    chosen = choose_matches(image_a, image_b, matches, limit)
    rgb = np.array(colours_of(chosen), np.float64).reshape(-1, 3)[:, ::-1] / 255
    right_of_a = image_a.shape[1] / image_a.shape[0] + _GAP
    width = right_of_a + image_b.shape[1] / image_b.shape[0]
    height = _WIDTH / width + _LEGEND
    figure = Figure((_WIDTH, height))
    axes = figure.add_axes((0, _LEGEND / height, 1, 1 - _LEGEND / height))
    places = []
    for image, left, points in ((image_a, 0.0, chosen.points_a), (image_b, right_of_a, chosen.points_b)):
        extent = (left, left + image.shape[1] / image.shape[0], 1.0, 0.0)
        axes.imshow(image[..., ::-1], extent=extent, aspect="auto", interpolation="none")
        places.append((points + 0.5) / image.shape[0] + [left, 0])
    axes.set(xlim=(0, width), ylim=(1, 0))
    axes.set_axis_off()
    faded = np.c_[rgb, opacities(chosen)]
    axes.add_collection(LineCollection(list(np.stack(places, axis=1)), colors=faded, linewidths=1.0))
    for points in places:
        axes.scatter(points[:, 0], points[:, 1], s=14, c=rgb, edgecolors="white", linewidths=0.7, zorder=3)
    text = f"{describe(len(chosen), len(matches))}; colour: left to right in A"
    if chosen.confidence is not None and len(chosen):
        text += f"; opacity: confidence {chosen.confidence.min():.2f} to {chosen.confidence.max():.2f}"
    figure.text(0, 0.08 / height, text, fontsize=8)
    # The same matches give the same file, and text stays text.
    when = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
    with atomic_path(path) as temporary, mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dcc"}):
        figure.savefig(temporary, format=suffix[1:], metadata=when)
