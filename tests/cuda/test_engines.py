"""The engines' backend on a real GPU, with PyTorch in the place of TensorRT."""

from __future__ import annotations

import copy
import gc
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dccnet.inference import TorchMatcher, frame_format
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Image
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.cuda import Device
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.tensorrt.backend import TensorRTBackend
from dccnet.runtime.tensorrt.opening import load_engines
from tests.helpers.torch_engines import torch_library, warm_up_thread

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("strict_float32")]


def open_matcher(model: DCCNet, gpu: Device) -> Matcher:
    library, _, plans = torch_library(model.to("cuda"))
    with gpu.activate():
        backend = TensorRTBackend(library, gpu, *load_engines(library, plans)[1:])
    frames = frame_format(model.config)
    manifest: Any = SimpleNamespace(
        confidence=None, image_size=frames.size, frames=frames, grid=model.grid, heatmaps=False, fine=None
    )
    return Matcher(manifest, backend)


@pytest.fixture(scope="module")
def truth(gpu: Device, small_model: DCCNet, photos: list[Image]) -> list[Correspondences]:
    matcher = TorchMatcher(copy.deepcopy(small_model), "cpu")
    return [matcher.match(photos[0], photo) for photo in photos]


@pytest.mark.parametrize(("half", "required"), [(False, 0.999), (True, 0.9)])
def test_matches_are_those_of_the_network(
    half: bool, required: float, gpu: Device, small_model: DCCNet, photos: list[Image],
    truth: list[Correspondences],
) -> None:  # fmt: skip
    """Repeatedly, so that the first run, the capture of a graph and its replays are all compared."""
    model = small_model.in_half() if half else copy.deepcopy(small_model)
    matcher = open_matcher(model, gpu)
    for _ in range(4):
        for photo, expected in zip(photos, truth, strict=True):
            found = matcher.match(photos[0], photo)
            assert (found.index_a == expected.index_a).mean() >= required
    matcher.close()


def test_threads_get_their_own_results(gpu: Device, small_model: DCCNet, photos: list[Image]) -> None:
    matcher = open_matcher(copy.deepcopy(small_model), gpu)
    reference = matcher.encode(photos[0])
    alone = [matcher.match(reference, photo) for photo in photos]
    jobs = [number % len(photos) for number in range(60)]
    with ThreadPoolExecutor(6, initializer=warm_up_thread) as pool:
        results = pool.map(lambda number: matcher.match(reference, photos[number]), jobs)
        for number, found in zip(jobs, results, strict=True):
            np.testing.assert_array_equal(found.index_a, alone[number].index_a)
    matcher.close()


def test_frames_of_pytorch_on_any_stream(gpu: Device, small_model: DCCNet, photos: list[Image]) -> None:
    matcher = open_matcher(copy.deepcopy(small_model), gpu)
    frame = matcher.manifest.frames.of(photos[1])
    expected = matcher.match(photos[0], photos[1])
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            on_gpu = torch.zeros_like(torch.from_numpy(frame), device="cuda")
            torch.cuda._sleep(10_000_000)
            on_gpu.copy_(torch.from_numpy(frame))
            for used in (None, stream.cuda_stream):
                features = matcher.encode(on_gpu, stream=used)
                found = matcher.match(photos[0], features, stream=used)
                np.testing.assert_array_equal(found.index_a, expected.index_a)
    matcher.close()


def test_features_can_be_read_by_pytorch(gpu: Device, small_model: DCCNet, photos: list[Image]) -> None:
    matcher = open_matcher(copy.deepcopy(small_model), gpu)
    features = matcher.encode(photos[0]).tensors["local"]
    direct, _ = TorchMatcher(copy.deepcopy(small_model), "cpu").encode(photos[0])
    read = torch.as_tensor(features, device="cuda")
    torch.testing.assert_close(read.cpu(), direct["local"], rtol=1e-3, atol=1e-4)
    matcher.close()


def test_memory_returns_when_a_matcher_is_closed(
    gpu: Device, small_model: DCCNet, photos: list[Image]
) -> None:
    def free_bytes() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        return int(torch.cuda.mem_get_info()[0])

    def use() -> None:
        matcher = open_matcher(copy.deepcopy(small_model), gpu)
        for _ in range(3):
            matcher.match(photos[0], photos[1])
        matcher.close()

    use()  # libraries keep some memory from their first use on
    before = free_bytes()
    for _ in range(3):
        use()
    assert before - free_bytes() <= 40 << 20  # the driver's granularity, once, and not for each matcher
