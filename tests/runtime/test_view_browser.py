"""The page of ``dcc view`` in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dccnet.demo.browser import chromium
from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.viewer.page import build_page
from tests.helpers.opened_page import OpenedPage

STEP = 1 / 65535
"""Places in a page are rounded to this share of the picture."""


@pytest.fixture(scope="module")
def result(bundle: Bundle, photos: list[Image]) -> Correspondences:
    return Matcher.open(bundle).match(photos[0], photos[1])


@pytest.fixture(scope="module")
def page_file(
    result: Correspondences, photos: list[Image], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    names = ("one.jpg", "two.jpg")
    path.write_text(build_page(result, photos[0], photos[1], names, "a network").html, encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[OpenedPage]:
    opened = OpenedPage(browser, page_file)
    yield opened
    assert opened.problems == []
    outside = [url for url in opened.requests if not url.startswith(("file:", "data:"))]
    files = [url for url in opened.requests if url.startswith("file:")]
    assert outside == [] and files == [page_file.as_uri()]
    opened.context.close()


def by_flow(result: Correspondences, points: Points, side: str) -> Points:
    """Matches of ``points`` ``(N, 2)`` of the picture ``side``, from Python's lattice, in pixels (x, y)."""
    way = result.one_way(side)  # type: ignore[arg-type]
    return geometry.transfer(points, way.lattice(result.rule), way.size)


@pytest.mark.parametrize(("side", "there"), [("a", "b"), ("b", "a")])
def test_a_hover_shows_the_match_that_python_computes(
    opened: OpenedPage, result: Correspondences, side: str, there: str
) -> None:
    for x, y in ((37, 52), (140, 101), (0, 0)):
        opened.hover(side, x, y)
        here = opened.point("from")
        assert here == pytest.approx(
            [x, y], abs=0.5
        )  # a pixel of the screen is smaller than one of the picture
        expected = opened.page.evaluate("() => [state.point.x, state.point.y]")
        (match,) = by_flow(result, np.array([expected]), side)
        assert opened.point("to") == pytest.approx(list(match), abs=0.051)
        score = result.transfer_scores([expected], from_=side)[0]  # type: ignore[arg-type]
        assert float(opened.text("score")) == pytest.approx(score, rel=0.01)
        # The marker lies on the match, and the picture under it is that of the other side.
        marker = opened.page.evaluate(
            f"""() => {{ const b = document.querySelector("[data-side={there}] .marker")
            .getBoundingClientRect(); return [b.x, b.y] }}"""
        )
        assert marker == pytest.approx(opened.place(there, *match), abs=1)
        assert opened.text("from-label") == side.upper()
        assert opened.page.is_checked(f"input[name=side][value={side}]")


def test_transfer_and_nearest_cells_are_pythons_everywhere(
    opened: OpenedPage, result: Correspondences
) -> None:
    random = np.random.default_rng(0)
    height, width = result.size_a
    points = random.uniform(0, [width - 1, height - 1], (200, 2))
    cells = result.matches("a").points_a  # exactly on cells, where ties occur
    points = np.concatenate([points, cells, (cells[:-1] + cells[1:]) / 2])
    found = transferred(opened, points)
    np.testing.assert_allclose(found[:, :2], by_flow(result, points, "a"), atol=STEP * max(result.size_b))
    np.testing.assert_allclose(found[:, 2], result.transfer_scores(points, from_="a"))
    on_cells = result.matches("a")
    np.testing.assert_allclose(
        transferred(opened, on_cells.points_a)[:, :2], on_cells.points_b, atol=STEP * max(result.size_b)
    )


def transferred(opened: OpenedPage, points: Points) -> Floats:
    """``(N, 3)``: the page's match (x, y) of points of A, and the score."""
    return np.array(
        opened.page.evaluate(
            """(points) => points.map(([x, y]) => { const p = {x, y};
            const m = transfer(pair, "fused", "a", p);
            return [m.x, m.y, pair.maps.fused.a.score[nearestCell(pair, "a", p)]] })""",
            points.tolist(),
        )
    )


def test_the_built_in_models_page_is_refined_and_has_confidence(
    browser: Any, photos: list[Image], tmp_path: Path
) -> None:
    with Matcher.open() as matcher:
        result = matcher.match(photos[0], photos[1])
    page = build_page(result, photos[0], photos[1], ("1", "2"), "n")
    assert page.rule == "refined" and page.confidence
    path = tmp_path / "refined.html"
    path.write_text(page.html, encoding="utf-8")
    opened = OpenedPage(browser, path)
    matches = result.matches("a")  # those of dcc match
    found = transferred(opened, matches.points_a)
    np.testing.assert_allclose(found[:, :2], matches.points_b, atol=STEP * max(result.size_b))
    assert np.abs(matches.points_b - result.matches("a", "subcell").points_b).max() > 1

    opened.hover("a", 60, 40)
    point = opened.page.evaluate("() => [state.point.x, state.point.y]")
    (confidence,) = result.transfer_confidence([point], "a")
    assert opened.page.is_visible("#confidence-entry")
    assert float(opened.text("probability")) == pytest.approx(confidence, abs=0.0051)
    assert result.confidence_model is not None and result.confidence_model.meaning in opened.text(
        "accuracy"
    )

    opened.page.locator("#confidence").fill("70")
    opened.settle()
    assert opened.text("least") == "below 0.70 hidden"
    shown = opened.page.evaluate("() => trust(pair, 'a').filter((value) => value >= 0.7).length")
    assert shown == len(result.at_least(0.7).matches("a").points_a)
    assert opened.problems == []
    opened.context.close()


def test_the_heat_map_is_bright_where_the_scores_are_high(
    opened: OpenedPage, result: Correspondences
) -> None:
    assert result.heatmap_a is not None
    opened.hover("a", 60, 60)
    cell = opened.page.evaluate("() => nearestCell(pair, 'a', state.point)")
    heatmap = result.heatmap_a.reshape(-1, *result.heatmap_a.shape[2:])[cell]
    painted = opened.painted("b")
    rows, columns = heatmap.shape

    def brightness(row: int, column: int) -> float:
        y = min(round(row / (rows - 1) * painted.shape[0]), painted.shape[0] - 1)
        x = min(round(column / (columns - 1) * painted.shape[1]), painted.shape[1] - 1)
        return float(painted[y, x, :3].sum())

    best = np.unravel_index(heatmap.argmax(), heatmap.shape)
    worst = np.unravel_index(heatmap.argmin(), heatmap.shape)
    assert brightness(*best) > 500 > 100 > brightness(*worst)  # type: ignore[arg-type]
    opened.choose("heat")
    assert not opened.painted("b").any()


def test_each_map_has_its_own_match_and_scores(opened: OpenedPage, result: Correspondences) -> None:
    assert result.maps is not None
    opened.hover("a", 60, 60)
    cell = opened.page.evaluate("() => nearestCell(pair, 'a', state.point)")
    opened.page.mouse.click(
        *opened.place("a", 60, 60)
    )  # pinned, so that moving to the controls does not move the point
    seen = {"fused": opened.painted("b")}
    for name, heatmap in (
        ("local", result.maps.heatmap_local_a),
        ("context", result.maps.heatmap_context_a),
    ):
        opened.choose("map", name)
        assert float(opened.text("score")) == pytest.approx(
            heatmap.reshape(-1, *heatmap.shape[2:])[cell].max(), rel=0.01
        )
        seen[name] = opened.painted("b")
    assert not np.array_equal(seen["local"], seen["context"])


def test_attention_is_painted_over_the_picture_under_the_pointer(
    opened: OpenedPage, result: Correspondences
) -> None:
    assert not opened.page.is_visible("#attention-legend")
    before = opened.painted("a")
    opened.choose("attention")
    assert opened.page.is_visible("#attention-legend")
    assert (opened.painted("a")[..., 3] > 0).mean() > 0.99 > 0.2 > (before[..., 3] > 0).mean()


def test_a_pinned_point_stays_until_it_is_released(opened: OpenedPage) -> None:
    opened.hover("a", 50, 50)
    opened.page.mouse.click(*opened.place("a", 50, 50))
    opened.settle()  # a click has whole pixels of the screen: the point moves by a fraction
    pinned = opened.text("from")
    opened.hover("b", 10, 10)
    assert opened.text("from") == pinned and "Pinned" in opened.text("state")
    opened.page.keyboard.press("Escape")
    opened.hover("b", 12, 12)
    assert opened.text("from-label") == "B" and "Pinned" not in opened.text("state")


def test_changing_the_direction_selects_the_match(opened: OpenedPage) -> None:
    opened.page.mouse.click(*opened.place("a", 50, 50))
    opened.settle()
    match = opened.text("to")
    opened.choose("side", "b")
    assert opened.text("from-label") == "B" and opened.text("from") == match


def test_confidence_hides_the_weakest(opened: OpenedPage, result: Correspondences) -> None:
    before = opened.painted("a")
    opened.page.locator("#confidence").fill("60")
    opened.settle()
    least = np.sort(result.score_a.ravel())[int(0.6 * result.score_a.size)]
    share = (result.score_a < least).mean()
    assert f"{least:.3g}"[:5] in opened.text("least") or f"{least:.1e}"[:3] in opened.text("least")
    veiled = (opened.painted("a")[..., 3] != before[..., 3]).mean()
    assert veiled == pytest.approx(share, abs=0.15)  # border cells are smaller
    score = float(opened.text("score"))
    weak = opened.page.evaluate("() => document.querySelector('[data-side=b] .marker').className")
    assert ("weak" in weak) == (score < least * 0.999)


def test_mutual_matches_are_dots_in_both_pictures(opened: OpenedPage, result: Correspondences) -> None:
    opened.choose("heat")
    without = opened.painted("b")
    opened.choose("matches")
    dots = opened.painted("b")
    assert not without.any() and dots.any() == (len(result.mutual()) > 0)
    assert opened.page.evaluate("() => matches.length") == len(result.mutual())


def test_the_keyboard_controls_everything(opened: OpenedPage, result: Correspondences) -> None:
    page = opened.page
    page.keyboard.press("Tab")  # the theme
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('figure').dataset.side") == "a"
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    x, y = opened.point("from")
    step_x = (result.size_a[1] - 1) / (result.index_a.shape[1] - 1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    opened.settle()
    assert opened.point("from") == pytest.approx([x + step_x, y + 1], abs=0.11)
    page.wait_for_function(
        "() => document.getElementById('announcement').textContent.includes('matches B')"
    )
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    opened.settle()
    assert opened.point("from")[0] == 0  # not beyond the picture
    page.keyboard.press("Enter")
    opened.settle()
    assert "Pinned" in opened.text("state")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    opened.settle()
    assert opened.text("from-label") == "B"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")  # native: the other direction
    opened.settle()
    assert opened.text("from-label") == "A"


def test_every_control_has_a_name_for_screen_readers(opened: OpenedPage) -> None:
    nameless = opened.page.evaluate(
        """() => [...document.querySelectorAll("input, button, [tabindex]")].filter(e =>
        !(e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length))).length"""
    )
    assert nameless == 0
    assert opened.page.get_by_role("slider", name="Confidence").count() == 1
    assert opened.page.get_by_role("radio", name="Context").count() == 1
    assert opened.page.get_by_label("Picture A, one.jpg").count() == 1


def test_a_damaged_page_says_so(browser: Any, page_file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.html"
    text = page_file.read_text(encoding="utf-8")
    damaged.write_text(text.replace('"index": "', '"index": "AAAA', 1), encoding="utf-8")
    page = browser.new_page()
    page.goto(damaged.as_uri())
    page.wait_for_function("() => document.getElementById('state').textContent.includes('damaged')")
    page.close()


def test_a_missing_browser_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dccnet.demo.browser.CHROMIUM", "/nowhere/chromium")
    with pytest.raises(DccError, match="apt-get install chromium"), chromium():
        pass


def luminance(colour: str) -> float:
    values = np.array([float(v) for v in colour[4:-1].split(",")]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_dark_and_light(browser: Any, page_file: Path, scheme: str) -> None:
    """Contrast of at least 4.5 : 1 for all text (WCAG AA), in the system's theme and in the other."""
    opened = OpenedPage(browser, page_file, color_scheme=scheme)

    def contrast(selector: str) -> float:
        text, ground = opened.page.evaluate(
            f"""() => [getComputedStyle(document.querySelector("{selector}")).color,
            getComputedStyle(document.body).backgroundColor]"""
        )
        low, high = sorted([luminance(text), luminance(ground)])
        return (high + 0.05) / (low + 0.05)

    def is_dark() -> bool:
        ground = opened.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return luminance(ground) < 0.2

    assert is_dark() == (scheme == "dark")
    for _ in range(2):
        for selector in ("#from", "dt", "figcaption", "#accuracy", "#network", "#least"):
            assert contrast(selector) >= 4.5, selector
        opened.page.click("#theme")
        opened.settle()
    opened.page.click("#theme")
    assert is_dark() != (scheme == "dark")
    assert opened.text("theme") == ("Light theme" if is_dark() else "Dark theme")  # what a click does
    assert opened.problems == []
    opened.context.close()


def test_a_tap_on_a_phone_shows_the_match(browser: Any, page_file: Path, result: Correspondences) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("body[data-ready]")
    box = page.locator("[data-side=a] .stage").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
    page.wait_for_function("() => Math.abs(state.point.x / pair.pictures.a.width - 1 / 3) < 0.02")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    x, y = page.evaluate("() => [state.point.x, state.point.y]")
    (match,) = by_flow(result, np.array([[x, y]]), "a")
    shown = [float(v) for v in str(page.text_content("#to")).split(",")]
    assert shown == pytest.approx(list(match), abs=0.051)
    assert page.evaluate(
        "() => document.documentElement.scrollWidth <= innerWidth"
    )  # no horizontal scrolling
    context.close()


def test_a_plain_bundles_page_shows_best_matches_and_how_to_get_more(
    browser: Any, result: Correspondences, photos: list[Image], tmp_path: Path
) -> None:
    result = dataclasses.replace(
        result, heatmap_a=None, heatmap_b=None, maps=None, window_a=None, window_b=None
    )
    path = tmp_path / "plain.html"
    path.write_text(build_page(result, photos[0], photos[1], ("1", "2"), "n").html, encoding="utf-8")
    opened = OpenedPage(browser, path)
    opened.hover("a", 80, 40)
    point = opened.page.evaluate("() => [state.point.x, state.point.y]")
    expected = result.transfer([point], from_="a", rule="cells")[0]
    assert opened.point("to") == pytest.approx(list(expected), abs=0.051)
    assert opened.page.is_visible("#plain") and "--maps" in opened.text("plain")
    for hidden in ("#heat-legend", "#maps", "#heat-choice", "#attention-choice"):
        assert not opened.page.is_visible(hidden)
    assert not opened.painted("b").any() and opened.problems == []
    opened.context.close()


def test_markup_in_a_name_does_not_run(
    browser: Any, result: Correspondences, photos: list[Image], tmp_path: Path
) -> None:
    names = ("<img src=https://example.com/x onerror=\"document.title='run'\">", "</title><b>b")
    path = tmp_path / "names.html"
    path.write_text(build_page(result, photos[0], photos[1], names, "n").html, encoding="utf-8")
    opened = OpenedPage(browser, path)
    assert opened.page.title() == f"{names[0]} and {names[1]}"
    assert opened.page.text_content("[data-side=a] .name") == names[0]
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    opened.context.close()
