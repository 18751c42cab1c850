"""Panels as a figure for a paper: PDF, SVG or PNG, by matplotlib (the extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dccnet.evaluation.figures.panels import Panel, Row
from dccnet.runtime.arrays import Floats, Image
from dccnet.runtime.drawing.flow_colours import flow_wheel
from dccnet.runtime.errors import UsageError
from dccnet.runtime.extras import required
from dccnet.runtime.files import atomic_path

SUFFIXES = (".pdf", ".svg", ".png")
WIDTH = 6.9
"""Inches: the text width of a paper with two columns."""
_GAP, _TEXT, _WHEEL = 0.06, 0.17, 0.6  # inches: between panels, a line of text, the colour wheel
_DPI = 300
_TALLEST = 1.3
"""Height of a panel relative to its width."""
_FONT = {
    "font.family": "serif",
    # matplotlib brings STIX, whose letters are those of Times.
    "font.serif": ["Times New Roman", "Times", "Nimbus Roman", "STIXGeneral"],
    "font.size": 8,
    "pdf.fonttype": 42,  # TrueType: many conferences refuse Type 3
    "svg.fonttype": "none",
    "svg.hashsalt": "dcc",
}


def check_output(path: Path) -> None:
    """Raise :class:`DccError` if the figure could not be written, before anything is computed."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot write '{path.name}': its suffix must be one of {', '.join(SUFFIXES)}")
    with required("a figure", "plot"):
        import matplotlib.figure  # noqa: F401


def write_figure(
    path: Path, headings: Sequence[str], rows: Sequence[Row], width: float = WIDTH, wheel: bool = False
) -> None:
    """Write ``rows`` of panels below their ``headings``, ``width`` inches wide, atomically.

    ``wheel`` adds the colours of flow. The same panels give the same file. Raises :class:`DccError`.
    """
    check_output(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left = _TEXT if any(row.label for row in rows) else 0.0
    columns = len(headings)
    side = (width - left - _GAP * (columns - 1)) / columns
    heights = [min(max(_shape(panel) for panel in row.panels), _TALLEST) * side for row in rows]
    captions = [_TEXT if any(panel.caption for panel in row.panels) else 0.0 for row in rows]
    total = _TEXT + sum(heights) + sum(captions) + _GAP * (len(rows) - 1) + (_WHEEL + _GAP) * wheel
    with mpl.rc_context(_FONT):  # type: ignore[arg-type, unused-ignore]
        figure = Figure((width, total))
        FigureCanvasAgg(figure)

        def place(x: float, y: float, w: float, h: float) -> Any:
            """Axes at inches from the upper left corner."""
            axes = figure.add_axes((x / width, 1 - (y + h) / total, w / width, h / total))
            axes.set_axis_off()
            return axes

        def write(x: float, y: float, text: str, **settings: Any) -> None:
            figure.text(
                x / width, 1 - y / total, text, ha="center", va="center", parse_math=False, **settings
            )

        for column, heading in enumerate(headings):
            write(left + column * (side + _GAP) + side / 2, _TEXT / 2, heading)
        top = _TEXT
        for row, height, caption in zip(rows, heights, captions, strict=True):
            if row.label:
                write(left / 2, top + height / 2, row.label, rotation=90)
            for column, panel in enumerate(row.panels):
                x = left + column * (side + _GAP)
                axes = place(x, top, side, height)
                axes.set_anchor("S" if caption else "C")
                _draw(axes, panel, side)
                write(x + side / 2, top + height + caption / 2, panel.caption)
            top += height + caption + _GAP
        if wheel:
            place(0, top, _WHEEL, _WHEEL).imshow(flow_wheel(round(_WHEEL * _DPI))[..., ::-1])
            text = "hue: direction from the target to the source; saturation: length"
            figure.text((_WHEEL + 2 * _GAP) / width, 1 - (top + _WHEEL / 2) / total, text, va="center")
        suffix = path.suffix.lower()
        when = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=when, dpi=_DPI)


def _shape(panel: Panel) -> float:
    """Height relative to width."""
    height, width = panel.image.shape[:2]
    return float(height / width)


def _draw(axes: Any, panel: Panel, side: float) -> None:
    height, width = panel.image.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(_printed(panel.image, side)[..., ::-1], extent=extent, interpolation="none")
    axes.set(xlim=extent[:2], ylim=extent[2:])
    colours = _colours(max(len(panel.dots), len(panel.squares)))
    if len(panel.dots) and len(panel.squares):
        for (x, y), (u, v), colour in zip(panel.dots, panel.squares, colours, strict=True):
            for paint, thick in (("white", 2.2), (colour, 1.2)):
                axes.plot([x, u], [y, v], color=paint, linewidth=thick, solid_capstyle="round", zorder=2)
    for points, marker, size in ((panel.squares, "s", 22), (panel.dots, "o", 16)):
        shown = colours[: len(points)]
        axes.scatter(
            points[:, 0], points[:, 1], s=size, marker=marker, c=shown, edgecolors="white", linewidths=0.6,
            zorder=3, clip_on=False,
        )  # fmt: skip


def _printed(image: Image, side: float) -> Image:
    """The picture with no more pixels than a print ``side`` inches wide shows."""
    scale = side * _DPI / image.shape[1]
    if scale >= 1:
        return image
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _colours(count: int) -> Floats:
    """``(count, 4)``: colours of points that differ as much as so many can."""
    from matplotlib import colormaps

    if count <= 10:
        found: Floats = colormaps["tab10"](np.arange(count))
        return found
    spread: Floats = colormaps["hsv"](np.arange(count) / count)
    return spread
