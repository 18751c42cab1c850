"""One scored pair as SVG: pictures inside it, hits and misses over them, lines to the truth."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.benchmark import Benchmark
from evaluation.scoring import HIT, MISS, Case, Outcome
from runtime.images import Image

# Okabe and Ito's bluish green and vermilion, which colour-blind people tell apart; shapes differ too.
HIT_COLOUR, MISS_COLOUR = "#009e73", "#d55e00"
_HIT_BGR, _MISS_BGR = (115, 158, 0), (0, 94, 213)
_HEIGHT = 230  # of both pictures, in pixels of the drawing
_GAP = 8
_QUALITY = 80


def draw_pair(benchmark: Benchmark, case: Case, outcome: Outcome, alpha: float) -> str:
    """Source left, target right. Reads both pictures."""
    source, target = case.pair.source.load(), case.pair.target.load()
    if outcome.overlay:
        target = _tinted(target, outcome.overlay)
    scales = [_HEIGHT / image.shape[0] for image in (source, target)]
    widths = [max(round(image.shape[1] * s), 1) for image, s in zip((source, target), scales, strict=True)]
    offset = widths[0] + _GAP
    width = offset + widths[1]
    parts = [
        f'<svg viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}">',
        _embedded(source, 0, widths[0]),
        _embedded(target, offset, widths[1]),
    ]
    if not outcome.overlay:
        assert case.pair.source_points is not None and case.pair.target_points is not None
        onto_source = benchmark.carried_to == "source"
        in_source, in_target = case.pair.source_points * scales[0], case.pair.target_points * scales[1]
        in_target += [offset, 0]
        carried = np.array(outcome.carried) * scales[0 if onto_source else 1]
        carried += [0 if onto_source else offset, 0]
        asked, truth = (in_target, in_source) if onto_source else (in_source, in_target)
        right = np.array(outcome.distances) <= alpha * outcome.length
        parts += [_number(point, number) for number, point in enumerate(asked, start=1)]
        parts += [
            _answer(where, true, bool(hit), number)
            for number, (where, true, hit) in enumerate(zip(carried, truth, right, strict=True), start=1)
        ]
    parts.append("</svg>")
    return "".join(parts)


def _embedded(image: Image, x: int, width: int) -> str:
    shrink = image.shape[0] > _HEIGHT
    size = (width, _HEIGHT)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    href = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return f'<image x="{x}" width="{width}" height="{_HEIGHT}" href="{href}"/>'


def _tinted(image: Image, overlay: str) -> Image:
    """Hits evenly tinted, misses hatched, so that they differ without their colours."""
    labels = cv2.imdecode(np.frombuffer(base64.b64decode(overlay), np.uint8), cv2.IMREAD_UNCHANGED)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    period = max(image.shape[0] // 40, 4)
    hatched = (x + y) % period < period / 2
    tinted = image.astype(np.float32)
    for where, colour in (((labels == HIT), _HIT_BGR), ((labels == MISS) & hatched, _MISS_BGR)):
        tinted[where] = 0.4 * tinted[where] + 0.6 * np.array(colour, np.float32)
    return np.rint(tinted).astype(np.uint8)


def _number(point: NDArray[np.float64], number: int) -> str:
    x, y = point
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="#fff" fill-opacity=".85" stroke="#000"/>'
        f'<text x="{x:.1f}" y="{y + 3.5:.1f}" text-anchor="middle" '
        f'style="font-size:10px;fill:#000">{number}</text>'
    )


def _answer(where: NDArray[np.float64], truth: NDArray[np.float64], hit: bool, number: int) -> str:
    (x, y), (u, v) = where, truth
    colour = HIT_COLOUR if hit else MISS_COLOUR
    mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}" stroke="#fff"/>'
    if not hit:
        cross = f"M{x - 4.5:.1f} {y - 4.5:.1f}l9 9m0 -9l-9 9"
        mark = (
            f'<path d="{cross}" stroke="#fff" stroke-width="5"/>'
            f'<path d="{cross}" stroke="{colour}" stroke-width="3"/>'
        )
    return (
        f"<g><title>{number}: {'right' if hit else 'wrong'}</title>"
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{u:.1f}" y2="{v:.1f}" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{u:.1f}" cy="{v:.1f}" r="4.5" fill="none" stroke="#000" stroke-width="3"/>'
        f'<circle cx="{u:.1f}" cy="{v:.1f}" r="4.5" fill="none" stroke="#fff" stroke-width="1.5"/>{mark}'
        f'<text x="{u + 7:.1f}" y="{v + 4:.1f}" style="font-size:10px;fill:#fff;stroke:#000;'
        f'stroke-width:2.5px;paint-order:stroke">{number}</text></g>'
    )
