"""The page of ``dcc view --live`` in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dccnet.demo.browser import serving
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import open_bundle
from dccnet.runtime.viewer.live.folder import live_page
from dccnet.runtime.viewer.live.onnxruntime_web import WebRuntime
from tests.helpers.live_page import (
    DECODE,
    OpenedLivePage,
    Pair,
    check_equal,
    encoded,
    web_runtime,
    write_pair,
)


@pytest.fixture(scope="module")
def web() -> WebRuntime:
    return web_runtime()


@pytest.fixture(scope="module")
def pair(photos: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return write_pair(photos[1], tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def built_in() -> Bundle:
    return open_bundle()


@pytest.fixture(scope="module")
def expected(built_in: Bundle, pair: Pair) -> Correspondences:
    return Matcher.open(built_in).match(*map(read_image, pair))


@pytest.fixture(scope="module")
def opened(browser: Any, built_in: Bundle, web: WebRuntime, pair: Pair) -> Iterator[OpenedLivePage]:
    """The page of the built-in model with the pair dropped on it; tests leave it matched."""
    with serving(live_page(built_in, "small-1", web).files) as url:
        opened = OpenedLivePage(browser, url)
        opened.match(*pair)
        yield opened
        assert opened.problems == []
        assert [request for request in opened.requests if not request.startswith(url)] == []
        opened.context.close()


CAMERA = """
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [160, 120];
  setInterval(() => {
    const context = canvas.getContext("2d");
    context.fillStyle = `hsl(${performance.now() / 10} 50% 50%)`;
    context.fillRect(0, 0, 160, 120);
  }, 50);
  navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20);
"""


@pytest.fixture(scope="module")
def phone(browser: Any, bundle: Bundle, web: WebRuntime, pair: Pair) -> Iterator[OpenedLivePage]:
    """The page of a small float32 bundle on a phone with a camera; tests leave the pair matched."""
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with serving(live_page(bundle, "tiny", web, pair).files) as url:
        phone = OpenedLivePage(browser, url, CAMERA, **options)
        phone.page.wait_for_selector("body[data-listed]")
        yield phone
        assert phone.problems == []
        phone.context.close()


def test_dropped_pictures_match_as_in_the_runtime(
    opened: OpenedLivePage, expected: Correspondences
) -> None:
    assert expected.rule == "refined" and len(np.unique(expected.index_a)) > 100
    check_equal(opened, expected)
    assert "Matched in" in opened.text("message") and "small-1, 22×22 cells" in opened.text("network")


def test_a_float32_bundle_matches_as_in_the_runtime(
    phone: OpenedLivePage, bundle: Bundle, pair: Pair
) -> None:
    """With heat maps, without fine features and confidence; the pictures came with the page."""
    expected = Matcher.open(bundle).match(*map(read_image, pair))
    assert expected.rule == "subcell"
    check_equal(phone, expected)
    assert not phone.page.is_visible("#confidence-entry")
    phone.hover("a", (0.4, 0.4))
    assert phone.page.locator("[data-side=b] .under-heat").count() == 1


@pytest.mark.parametrize(("side", "there"), [("a", "b"), ("b", "a")])
def test_a_hover_shows_where_the_runtime_places_the_point(
    opened: OpenedLivePage, expected: Correspondences, side: Any, there: str
) -> None:
    for share in ((0.3, 0.4), (0.52, 0.7), (0.001, 0.002)):
        opened.hover(side, share)
        point = opened.point("from")  # rounded to a tenth of a pixel
        match = expected.transfer([point], from_=side)[0]
        assert opened.point("to") == pytest.approx(list(match), abs=0.5)
        confidence = expected.transfer_confidence([point], from_=side)
        assert confidence is not None
        assert float(opened.text("probability")) == pytest.approx(float(confidence[0]), abs=0.02)
        assert float(opened.text("score")) == pytest.approx(
            float(expected.transfer_scores([point], from_=side)[0]), rel=0.01
        )
        size = expected.size_b if there == "b" else expected.size_a
        marker = opened.page.locator(f"[data-side={there}] .marker").bounding_box()
        x, y = opened.place(there, ((match[0] + 0.5) / size[1], (match[1] + 0.5) / size[0]))
        assert [marker["x"], marker["y"]] == pytest.approx([x, y], abs=2)
        assert opened.text("from-label") == side.upper() and opened.painted(there)


def test_every_rule_and_confidence_are_the_runtimes_at_any_point(
    opened: OpenedLivePage, expected: Correspondences
) -> None:
    """The page's own code on the runtime's outputs, at random points, on cells and between them."""
    assert expected.fine_a is not None and expected.fine_b is not None and expected.window_a is not None
    random = np.random.default_rng(0)
    height, width = expected.size_a
    cells = expected.matches("a").points_a[:60]
    points = np.concatenate([random.uniform(0, [width - 1, height - 1], (60, 2)), cells])
    fine = {
        side: {"values": encoded(features.cells_last(), "f4"), "dims": features.values.shape}
        for side, features in (("a", expected.fine_a), ("b", expected.fine_b))
    }
    outputs = {
        name: encoded(getattr(expected, name), "i4" if name.startswith("index") else "f4")
        for name in ("index_a", "score_a", "window_a", "index_b", "score_b", "window_b")
    }
    manifest = json.loads((open_bundle().path / "manifest.json").read_text(encoding="utf-8"))
    sizes = {"a": expected.size_a, "b": expected.size_b}
    found = opened.page.evaluate(
        f"""async ([manifest, outputs, sizes, fine, points]) => {{ {DECODE} return ("""
        """async () => {
        const { makePair } = await import("./pair.js");
        const typed = {};
        for (const [name, values] of Object.entries(outputs))
          typed[name] = decode(values, name.startsWith("index") ? Int32Array : Float32Array);
        const features = {};
        for (const [side, { values, dims: [channels, rows, columns] }] of Object.entries(fine))
          features[side] = { values: decode(values, Float32Array), rows, columns, channels };
        const none = { a: null, b: null };
        const refined = makePair(manifest, typed, sizes, features).a;
        const subcell = makePair(manifest, typed, sizes, none).a;
        const { window_a, window_b, ...bare } = typed;
        const cells = makePair(manifest, bare, sizes, none).a;
        const moved = (way) => points.map(([x, y]) => { const m = way.move({ x, y }); return [m.x, m.y] });
        return { rules: [refined.rule, subcell.rule, cells.rule], refined: moved(refined),
          subcell: moved(subcell), cells: moved(cells),
          confidence: points.map(([x, y]) => refined.confidence({ x, y })) } })() }""",
        [manifest, outputs, sizes, fine, points.tolist()],
    )
    assert found["rules"] == ["refined", "subcell", "cells"]
    for rule, atol in (("refined", 1e-3), ("subcell", 1e-9), ("cells", 1e-9)):
        wanted = expected.transfer(points, from_="a", rule=rule)  # type: ignore[arg-type]
        np.testing.assert_allclose(found[rule], wanted, atol=atol, err_msg=rule)
    np.testing.assert_allclose(
        found["confidence"], expected.transfer_confidence(points, from_="a"), atol=1e-6
    )


def test_frames_are_the_runtimes_to_the_last_bit(opened: OpenedLivePage) -> None:
    random = np.random.default_rng(1)
    for size, target, dtype in (
        ((37, 53), (32, 40), "uint8"),
        ((37, 53), (61, 90), "float32"),
        ((9, 1), (16, 16), "uint8"),
        ((32, 40), (32, 40), "uint8"),
        ((32, 40), (32, 40), "float32"),
        ((40, 4001), (8, 352), "float32"),
    ):
        picture = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        rgba = np.dstack([picture[..., ::-1], np.full(size, 255, np.uint8)])
        frame = opened.page.evaluate(
            f"""async ([pixels, size, format]) => {{ {DECODE}
            const {{ makeFrame }} = await import("./frames.js");
            return Array.from(makeFrame(decode(pixels, Uint8ClampedArray), size, format)) }}""",
            [encoded(rgba, "u1"), size, {"size": target, "dtype": dtype}],
        )
        wanted = FrameFormat(target, dtype).of(picture)
        np.testing.assert_array_equal(np.array(frame, dtype).reshape(*target, 3), wanted)


def test_half_precision_numbers_are_read_from_their_bits(opened: OpenedLivePage) -> None:
    values = np.array([0, 1, -1, 0.1, 65504, 6e-8, -6.1e-5, 1e-4, 3.14159], np.float16)
    found = opened.page.evaluate(
        """async (bits) =>
        Array.from((await import("./refinement.js")).toFloat32(Uint16Array.from(bits)))""",
        values.view(np.uint16).tolist(),
    )
    np.testing.assert_array_equal(np.array(found, np.float32), values.astype(np.float32))


def test_a_pinned_point_stays_and_the_direction_can_change(opened: OpenedLivePage) -> None:
    opened.hover("a", (0.5, 0.5))
    opened.page.mouse.click(*opened.place("a", (0.5, 0.5)))
    opened.settle()
    pinned, match = opened.text("from"), opened.text("to")
    opened.hover("b", (0.1, 0.1))
    assert opened.text("from") == pinned and "Pinned" in opened.text("state")
    opened.choose("side", "b")
    assert opened.text("from-label") == "B" and opened.text("from") == match
    opened.page.keyboard.press("Escape")
    opened.hover("a", (0.2, 0.2))
    assert opened.text("from-label") == "A" and "Pinned" not in opened.text("state")
    opened.page.focus("[data-side=a] .stage")
    x, y = opened.point("from")
    opened.page.keyboard.press("Shift+ArrowRight")
    opened.settle()
    assert opened.point("from") == pytest.approx([x + 1, y], abs=0.11)
    opened.hover("a", (0.3, 0.3))


def test_mutual_matches_and_confidence_can_be_shown_and_drawn(
    opened: OpenedLivePage, expected: Correspondences
) -> None:
    opened.hover("a", (0.5, 0.5))
    opened.choose("heat")
    assert not opened.painted("b")
    opened.choose("mutual")
    assert opened.painted("b")

    def drawn() -> Image:
        picture = cv2.imdecode(np.frombuffer(opened.download("png"), np.uint8), cv2.IMREAD_COLOR)
        return np.asarray(picture, np.uint8)

    whole = drawn()
    widths = [round(size[1] * 900 / size[0]) for size in (expected.size_a, expected.size_b)]
    assert whole.shape == (900, sum(widths) + 16, 3)
    opened.page.locator("#confidence").fill("99")
    opened.settle()
    assert opened.text("least") == "below 0.99 hidden" and "Below" in opened.text("state")
    bare = drawn()  # no match is so sure: nothing is drawn over the pictures
    assert expected.confidence_a is not None and expected.confidence_a.max() < 0.99
    changed = (whole.astype(int) - bare != 0).any(axis=2)
    assert 0.01 < changed.mean() < 0.5
    opened.page.locator("#confidence").fill("0")
    opened.choose("heat")
    opened.choose("mutual")


def test_what_is_no_picture_is_refused_and_the_pair_stays(opened: OpenedLivePage, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG no more")
    opened.drop(damaged)
    opened.page.wait_for_selector("#message.wrong")
    assert opened.text("message") == "damaged.png is no picture that this browser can show."
    opened.hover("a", (0.4, 0.4))
    assert opened.painted("b")


def test_a_tap_on_a_phone_shows_the_match(phone: OpenedLivePage, pair: Pair) -> None:
    assert phone.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    phone.page.touchscreen.tap(*phone.place("a", (0.3, 0.6)))
    phone.settle()
    height, width = read_image(pair[0]).shape[:2]
    assert phone.point("from") == pytest.approx([0.3 * width, 0.6 * height], abs=2)
    assert "Pinned" in phone.text("state")


def test_only_the_picture_that_changed_is_encoded_again(phone: OpenedLivePage, pair: Pair) -> None:
    number = "() => Number(document.body.dataset.listed)"
    changes = (
        lambda: phone.paste(pair[0]),  # A is there, so that this is B
        lambda: phone.page.set_input_files("[data-side=b] .tools input", str(pair[1])),
    )
    for change in changes:
        before = phone.page.evaluate(number)
        change()
        phone.page.wait_for_function(f"() => document.body.dataset.listed > {before}")
        # One number for the picture and one for the match.
        assert phone.page.evaluate(number) == before + 2
    phone.page.click("#swap")
    phone.page.wait_for_function(f"() => document.body.dataset.listed > {before + 2}")
    assert phone.page.text_content("[data-side=a] .name") == "b.png"
    phone.match(*pair)


def test_a_pinned_point_stays_while_the_camera_runs(phone: OpenedLivePage, pair: Pair) -> None:
    phone.page.touchscreen.tap(*phone.place("a", (0.5, 0.4)))
    phone.settle()
    pinned, camera = phone.text("from"), phone.page.locator("[data-side=b] .tools .camera")
    before = phone.page.evaluate("() => Number(document.body.dataset.matched)")
    camera.tap()
    phone.page.wait_for_function(f"() => document.body.dataset.matched > {before + 2}")  # two frames
    assert str(phone.page.text_content("[data-side=b] .size")).strip() == "160 × 120"
    assert phone.text("from") == pinned and phone.text("from-label") == "A"
    camera.tap()
    assert camera.text_content() == "Camera"
    phone.match(*pair)


@pytest.mark.parametrize("damage", ["missing", "changed", "wasm"])
def test_missing_and_damaged_files_are_said_in_a_sentence(
    browser: Any, bundle: Bundle, web: WebRuntime, damage: str
) -> None:
    files = dict(live_page(bundle, "tiny", web).files)
    file, said = {
        "missing": ("bundle/matcher.onnx", "matcher.onnx is missing beside this page (HTTP 404)"),
        "changed": ("bundle/encoder.onnx", "encoder.onnx is damaged (its SHA-256 is not the manifest's)"),
        "wasm": ("onnxruntime-web/ort-wasm-simd-threaded.wasm.gz", "wasm.gz is damaged"),
    }[damage]
    if damage == "missing":
        del files[file]
    else:
        files[file] = files[file][:1000] + b"!" + files[file][1001:]
    with serving(files) as url:
        opened = OpenedLivePage(browser, url)
        opened.page.wait_for_selector("body[data-failed]")
        assert said in opened.text("message") and opened.text("message").endswith(".")
        assert opened.page.locator("#message.wrong").count() == 1
        opened.context.close()
