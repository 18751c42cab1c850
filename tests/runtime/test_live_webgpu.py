"""The live page on a GPU in software, which takes minutes, and its picture in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dccnet.demo.browser import chromium, serving
from dccnet.demo.live_picture import HEIGHT, WIDTH, take_picture
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.viewer.live.folder import live_page
from dccnet.runtime.viewer.live.onnxruntime_web import WEBGPU
from tests.helpers.live_page import OpenedLivePage, Pair, check_equal, web_runtime, write_pair

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(photos: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return write_pair(photos[1], tmp_path_factory.mktemp("pair"))


@pytest.mark.parametrize("gpu", [True, False])
def test_the_webgpu_build_matches_on_a_gpu_and_without_one(bundle: Bundle, pair: Pair, gpu: bool) -> None:
    files = dict(live_page(bundle, "tiny", web_runtime(WEBGPU), pair).files)
    files["engine.js"] = files["engine.js"].replace(b"isFallbackAdapter", b"real")  # take the software one
    flags = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--ignore-gpu-blocklist")
    with chromium(flags if gpu else ()) as browser, serving(files) as url:
        opened = OpenedLivePage(browser, url)
        opened.page.wait_for_selector("body[data-listed]", timeout=300_000)
        assert opened.text("network").endswith("cells, WebGPU") == gpu
        check_equal(opened, Matcher.open(bundle).match(*map(read_image, pair)))
        assert opened.problems == []
        opened.context.close()


def test_the_picture_in_the_docs_can_be_taken_again(pair: Pair, tmp_path: Path) -> None:
    web_runtime()
    take_picture(*pair, tmp_path / "live.jpg")
    picture = read_image(tmp_path / "live.jpg")
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.std() > 20
