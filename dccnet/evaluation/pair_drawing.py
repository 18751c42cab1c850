"""Draws a scored pair as SVG: both pictures, hits and misses, and lines to the true points."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.scoring import HIT, MISS, Case, Outcome
from dccnet.runtime.arrays import Floats, Image, Points

# Okabe and Ito's bluish green and vermilion, which colour-blind people can tell apart; shapes differ too.
HIT_COLOUR, MISS_COLOUR = "#009e73", "#d55e00"
_HIT_BGR, _MISS_BGR = (115, 158, 0), (0, 94, 213)
_HEIGHT, _WIDTH = 230, 320  # largest size of a picture, in pixels of the drawing
_GAP = 8
_QUALITY = 80


def draw_pair(benchmark: Benchmark, case: Case, outcome: Outcome, alpha: float) -> str:
    """SVG with the source on the left and the target on the right. Reads both pictures."""
    source, target = case.pair.source.load(), case.pair.target.load()
    if outcome.overlay:
        target = _tinted(target, outcome.overlay)
    left, right = _small(source), _small(target)
    offset = left.shape[1] + _GAP
    width, height = offset + right.shape[1], max(left.shape[0], right.shape[0])
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        _embedded(left, 0),
        _embedded(right, offset),
    ]
    if not outcome.overlay:
        assert case.pair.source_points is not None and case.pair.target_points is not None
        in_source = _placed(case.pair.source_points, source, left, 0)
        in_target = _placed(case.pair.target_points, target, right, offset)
        carried = np.array(outcome.carried)
        if benchmark.carried_to == "source":
            query, truth, carried = in_target, in_source, _placed(carried, source, left, 0)
        else:
            query, truth, carried = in_source, in_target, _placed(carried, target, right, offset)
        hits = np.array(outcome.distances) <= alpha * outcome.length
        parts += [_number(point, number) for number, point in enumerate(query, start=1)]
        parts += [
            _prediction(where, true, bool(hit), number)
            for number, (where, true, hit) in enumerate(zip(carried, truth, hits, strict=True), start=1)
        ]
    parts.append("</svg>")
    return "".join(parts)


def _small(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = min(_HEIGHT / height, _WIDTH / width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def _placed(points: Points, image: Image, small: Image, offset: int) -> Points:
    """Points in pixels of ``image`` -> the drawing, where pixel 0 of ``image`` has its centre at 0.5."""
    scale = np.array([small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]])
    placed: Points = (points + 0.5) * scale + [offset, 0]
    return placed


def _embedded(image: Image, x: int) -> str:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    href = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    height, width = image.shape[:2]
    return f'<image x="{x}" width="{width}" height="{height}" href="{href}"/>'


def _tinted(image: Image, overlay: str) -> Image:
    """The image with hits tinted and misses hatched, so that they also differ without colours."""
    labels = cv2.imdecode(np.frombuffer(base64.b64decode(overlay), np.uint8), cv2.IMREAD_UNCHANGED)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    period = max(image.shape[0] // 40, 4)
    hatched = (x + y) % period < period / 2
    tinted = image.astype(np.float32)
    for where, colour in (((labels == HIT), _HIT_BGR), ((labels == MISS) & hatched, _MISS_BGR)):
        tinted[where] = 0.4 * tinted[where] + 0.6 * np.array(colour, np.float32)
    return np.rint(tinted).astype(np.uint8)


def _number(point: Floats, number: int) -> str:
    x, y = point
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="#fff" fill-opacity=".85" stroke="#000"/>'
        f'<text x="{x:.1f}" y="{y + 3.5:.1f}" text-anchor="middle" '
        f'style="font-size:10px;fill:#000">{number}</text>'
    )


def _prediction(where: Floats, truth: Floats, hit: bool, number: int) -> str:
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
