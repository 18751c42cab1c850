"""The pages that ``dcc view`` writes, without a browser; test_view_browser.py opens them in one."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dccnet.export.build import export_bundle
from dccnet.export.graphs import MatcherGraph
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import UsageError
from dccnet.runtime.files import sha256
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.score_maps import ScoreMaps
from dccnet.runtime.viewer.page import LIMIT_BYTES, build_page
from dccnet.runtime.viewer.quantise import quantise, restore
from tests.helpers.commands import Cli
from tests.helpers.networks import ONE_BRANCH, SMALL, build


def page_data(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    data: dict[str, Any] = json.loads(text)
    return data


def unpacked(text: str, dtype: str) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)


@pytest.fixture(scope="module")
def result(bundle: Bundle, photos: list[Image]) -> Correspondences:
    return Matcher.open(bundle).match(photos[0], photos[1])


@given(
    seed=st.integers(0, 2**32 - 1),
    sharpness=st.floats(0.01, 60),
    levels=st.sampled_from([255, 63, 15]),
)
def test_quantisation_error_is_within_its_bound(seed: int, sharpness: float, levels: int) -> None:
    scores = np.random.default_rng(seed).random((7, 30)).astype(np.float32)
    scores = np.exp(sharpness * scores)
    scores /= scores.sum(axis=1, keepdims=True)
    found = quantise(scores, levels)
    error = np.abs(restore(found.steps, found.lowest, found.highest, levels) - scores)
    assert found.largest_error == pytest.approx(error.max())
    assert (error <= (found.highest - found.lowest)[:, None] / levels * 1.001 + 1e-7).all()
    assert (found.steps.max(axis=1) == levels).all() and (found.steps.min(axis=1) == 0).all()


def test_equal_scores_do_not_divide_by_zero() -> None:
    found = quantise(np.full((2, 4), 0.25, np.float32), 255)
    assert not found.steps.any() and found.largest_error == 0


def test_a_page_contains_every_score_of_the_matcher(result: Correspondences, photos: list[Image]) -> None:
    page = build_page(result, photos[0], photos[1], ("a.jpg", "b.jpg"), "a network")
    assert page.maps == ("fused", "local", "context") and page.attention
    data = page_data(page.html)
    assert result.maps is not None and result.maps.attention_b is not None
    for name, side, heatmap in (
        ("fused", "a", result.heatmap_a),
        ("fused", "b", result.heatmap_b),
        ("local", "b", result.maps.heatmap_local_b),
        ("context", "a", result.maps.heatmap_context_a),
    ):
        assert heatmap is not None
        entry = data["maps"][name][side]
        scores = heatmap.reshape(result.index_a.size, -1)
        steps = unpacked(entry["steps"], "u1").reshape(scores.shape)
        best, lowest = unpacked(entry["score"], "<f4"), unpacked(entry["lowest"], "<f4")
        shown = restore(steps, lowest, best, page.levels)
        assert np.abs(shown - scores).max() <= page.largest_error * 1.001 + 1e-9
        np.testing.assert_array_equal(unpacked(entry["index"], "<u4"), scores.argmax(axis=1))
    trust = unpacked(data["attention"]["b"], "u1").reshape(result.index_b.shape) / 255
    np.testing.assert_allclose(trust, result.maps.attention_b[0], atol=1 / 500)
    assert data["pictures"]["a"]["width"] == photos[0].shape[1]


def test_pictures_are_scaled_down_and_coordinates_refer_to_the_originals() -> None:
    image = np.zeros((1500, 3000, 3), np.uint8)
    index, score = np.arange(4).reshape(2, 2), np.full((2, 2), 0.5, np.float32)
    result = Correspondences((1500, 3000), (1500, 3000), index, score, index, score)
    page = build_page(result, image, image, ("a.jpg", "b.jpg"), "a network")
    picture = page_data(page.html)["pictures"]["a"]
    assert (picture["width"], picture["height"]) == (3000, 1500)
    jpeg = base64.b64decode(picture["source"].partition("base64,")[2])
    assert b"\x04\x00" in jpeg[:700] and len(jpeg) < 20_000  # 1024 wide
    assert page.maps == () and not page.attention


def test_the_papers_grid_with_all_maps_stays_under_three_megabytes() -> None:
    """Random scores, which do not compress, over pictures of noise."""
    random = np.random.default_rng(0)
    grid = (25, 25)

    def heatmap() -> NDArray[np.float32]:
        scores = random.random((*grid, *grid), np.float32)
        return np.asarray(scores / scores.sum(axis=(2, 3), keepdims=True), np.float32)

    def attention() -> NDArray[np.float32]:
        local = random.random((1, *grid), np.float32)
        return np.concatenate([local, 1 - local])

    a, b = heatmap(), heatmap()
    result = Correspondences(
        (400, 500),
        (400, 500),
        a.reshape(*grid, -1).argmax(-1),
        a.max((2, 3)),
        b.reshape(*grid, -1).argmax(-1),
        b.max((2, 3)),
        a,
        b,
        ScoreMaps(heatmap(), heatmap(), heatmap(), heatmap(), attention(), attention()),
    )
    image = random.integers(0, 255, (400, 500, 3), np.uint8)
    page = build_page(result, image, image, ("a.jpg", "b.jpg"), "a network")
    assert len(page.html.encode()) <= LIMIT_BYTES
    assert page.levels == 63  # the first number of levels that fits
    assert f'"largest_error": {page.largest_error}' in page.html


def test_names_cannot_become_markup(result: Correspondences, photos: list[Image]) -> None:
    name = "</script><img src=x onerror=alert(1)>%%data%%.jpg"
    page = build_page(result, photos[0], photos[1], (name, "b.jpg"), "a network")
    assert "<img src=x" not in page.html and page.html.count("</script>") == 2
    assert page_data(page.html)["pictures"]["a"]["name"] == name


def test_the_command_writes_a_page_and_says_what_is_in_it(
    dcc: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    page = tmp_path / "new" / "page.html"
    done = dcc("view", bundle.path, pictures[0], pictures[1], "-o", page, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["bytes"] == page.stat().st_size < LIMIT_BYTES
    assert facts["maps"] == ["fused", "local", "context"] and facts["attention"] is True
    assert str(pictures[0].parent) not in page.read_text(encoding="utf-8")  # no paths are published
    refused = dcc("view", bundle.path, pictures[0], pictures[1], "-o", tmp_path / "page.png")
    assert refused.returncode == 2 and "must end in .html" in refused.stderr
    missing = dcc("view", bundle.path, pictures[0], tmp_path / "none.jpg", "-o", page)
    assert missing.returncode == 1 and "does not exist" in missing.stderr


def best_matches_only(bundle: Bundle, path: Path) -> Path:
    """A copy of a bundle without score maps, as if exported without options: an export takes longer."""
    shutil.copytree(bundle.path, path)
    model = onnx.load(path / "matcher.onnx")
    del model.graph.output[4:]
    onnx.save(model, path / "matcher.onnx")
    matcher = bundle.manifest.graphs["matcher"]
    matcher = dataclasses.replace(
        matcher, sha256=sha256(path / "matcher.onnx"), outputs=matcher.outputs[:4]
    )
    graphs = bundle.manifest.graphs | {"matcher": matcher}
    write_manifest(path, dataclasses.replace(bundle.manifest, graphs=graphs, heatmaps=False, maps=False))
    return path


def test_a_plain_bundle_leads_to_a_hint_about_maps(
    dcc: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    plain = best_matches_only(bundle, tmp_path / "plain")
    page = tmp_path / "page.html"
    done = dcc("view", plain, pictures[0], pictures[1], "-o", page)
    assert done.returncode == 0 and "dcc export MODEL --maps" in done.stderr
    assert done.stdout.strip() == str(page)
    assert "steps" not in page_data(page.read_text(encoding="utf-8"))["maps"]["fused"]["a"]


def test_maps_are_the_networks_own(bundle: Bundle, small_model: Any, photos: list[Image]) -> None:
    from dccnet.inference import TorchMatcher

    found = Matcher.open(bundle).match(photos[0], photos[1])
    true = TorchMatcher(small_model).match(photos[0], photos[1], heatmaps=True)
    assert found.maps is not None and true.maps is not None
    for name in ScoreMaps.__slots__:
        np.testing.assert_allclose(getattr(found.maps, name), getattr(true.maps, name), atol=1e-5)
    local, context = found.maps.heatmap_local_b, found.maps.heatmap_context_b
    assert found.maps.attention_b is not None and found.heatmap_b is not None
    weights = found.maps.attention_b[..., None, None]
    np.testing.assert_allclose(weights[0] * local + weights[1] * context, found.heatmap_b, atol=1e-6)
    assert np.abs(local - context).max() > 1e-6  # two maps, not one twice


def test_maps_are_saved_with_the_matches(result: Correspondences, tmp_path: Path) -> None:
    result.save(tmp_path / "matches.npz")
    with np.load(tmp_path / "matches.npz") as arrays:
        assert result.maps is not None
        np.testing.assert_array_equal(arrays["heatmap_context_b"], result.maps.heatmap_context_b)
        assert arrays["attention_a"].shape == (2, *result.index_a.shape)


def test_a_network_that_averages_has_maps_and_no_attention() -> None:
    graph = MatcherGraph(build(SMALL.replace(fusion="average")), heatmaps=False, maps=True)
    features = graph.example().values()
    with torch.no_grad():
        outputs = dict(zip(graph.output_names, graph(*features), strict=True))
    assert set(outputs) >= {"heatmap_a", "heatmap_local_b", "heatmap_context_a"}
    assert not {"attention_a", "attention_b"} & set(outputs)


def test_a_network_of_one_branch_has_no_maps(pictures: list[Path], tmp_path: Path) -> None:
    model = build(SMALL.replace(branches=("local",), **ONE_BRANCH))
    with pytest.raises(UsageError, match="--heatmaps returns"):
        export_bundle(model, tmp_path / "one", pictures[:2], maps=True)
    assert not (tmp_path / "one").exists()


def test_heat_maps_are_shown_without_the_maps_of_branches(
    result: Correspondences, photos: list[Image]
) -> None:
    page = build_page(dataclasses.replace(result, maps=None), photos[0], photos[1], ("a", "b"), "")
    assert page.maps == ("fused",) and not page.attention
