"""Which of the runtime's tests ``make test-oldest`` runs, the browser that opens pages, and the
built-in model with two animals."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from dccnet.demo.browser import chromium
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from tests.helpers.animals import ANIMALS

NEED_TORCH = [
    "test_bombs.py",
    "test_diagnostics.py",
    "test_engine_lowerings.py",
    "test_engine_runs.py",
    "test_engines.py",
    "test_frames.py",
    "test_geometry.py",
    "test_gpu.py",
    "test_gpu_backend.py",
    "test_live_browser.py",
    "test_live_webgpu.py",
    "test_onnx_weights.py",
    "test_openvino.py",
    "test_score_windows.py",
    "test_view.py",
    "test_view_browser.py",
]
"""These compare with PyTorch, change graphs with ONNX, emulate cuda-python, which is needed for that, or
need OpenVINO, an extra."""

collect_ignore = [] if find_spec("torch") else NEED_TORCH


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium())
        except DccError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI must open the page in a browser: {error}")
            pytest.skip(str(error))
        yield browser


@pytest.fixture(scope="module")
def matcher() -> Iterator[Matcher]:
    with Matcher.open(threads=1) as matcher:
        yield matcher


@pytest.fixture(scope="module")
def pair() -> tuple[Image, Image]:
    return read_image(ANIMALS / "cat.jpg"), read_image(ANIMALS / "raccoon.jpg")
