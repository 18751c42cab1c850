"""Tests on a real GPU: `make test-gpu`. Without one, all of them are skipped.

tests/runtime/test_gpu_backend.py runs some of them on an emulation.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dccnet.export.verify import lead
from dccnet.runtime.agreement import CRITERIA
from dccnet.runtime.arrays import Image
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.cuda import BINDINGS, CudaPythonDevice, Device, cuda_problem, open_device
from dccnet.runtime.errors import EngineError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.tensorrt.backend import TensorRTBackend
from dccnet.runtime.tensorrt.bundled import build_engines
from dccnet.runtime.tensorrt.library import Library, load_library
from dccnet.runtime.tensorrt.opening import Plan, default_settings, load_engines
from tests.helpers.bundles import Bundles

pytestmark = pytest.mark.gpu
PRECISIONS = ("float32", "float16")
LOWERINGS = ("stack", "spectral", "spectral3")


@pytest.fixture(scope="module")
def device() -> Device:
    problem = cuda_problem()
    if problem is not None:
        pytest.skip(f"no GPU: {problem}")
    return open_device(0)


@pytest.fixture(scope="module")
def truth(device: Device, bundles: Bundles, photos: list[Image]) -> list[Correspondences]:
    """Correspondences in float32, from ONNX Runtime on the CPU."""
    matcher = Matcher.open(bundles("float32", "stack"), device="cpu")
    return [matcher.match(photos[0], photo) for photo in photos[1:]]


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def library(request: pytest.FixtureRequest, device: Device) -> Library:
    try:
        return load_library(request.param)
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def matcher(bundles: Bundles, device: Device, own_cache: None) -> Iterator[Matcher]:
    opened = Matcher.open(bundles("float16", "spectral"), backend="tensorrt")
    yield opened
    opened.backend.close()


def assert_agrees(found: Correspondences, true: Correspondences, precision: str) -> None:
    criterion = CRITERIA[precision]
    assert true.heatmap_a is not None
    counts = lead(true.heatmap_a) >= max(criterion.margin, 1e-3)  # kernels sum in another order
    assert counts.mean() > 0.3
    assert (found.index_a == true.index_a)[counts].mean() >= criterion.identical_cells
    np.testing.assert_allclose(found.score_a, true.score_a, atol=criterion.score_difference)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_engine_agrees_with_onnx_runtime(
    precision: str,
    lowering: str,
    bundles: Bundles,
    library: Library,
    device: Device,
    photos: list[Image],
    truth: list[Correspondences],
) -> None:
    settings = default_settings(library, device)
    bundle = bundles(precision, lowering)
    with device.activate():
        engines = build_engines(bundle, library, settings)
        _, *loaded = load_engines(library, [Plan(Path(e.record.file), e.plan, e.record) for e in engines])
        backend = TensorRTBackend(library, device, *loaded)
    for engine in engines:
        assert engine.record.precision == precision
    matcher = Matcher(bundle.manifest, backend)
    for _ in range(3):  # the second run is captured into a graph, the third replays it
        for photo, true in zip(photos[1:], truth, strict=True):
            assert_agrees(matcher.match(photos[0], photo), true, precision)
    backend.close()


def test_every_thread_gets_its_own_result(matcher: Matcher, photos: list[Image]) -> None:
    reference = matcher.encode(photos[0])
    alone = [matcher.match(reference, photo) for photo in photos]
    barrier = threading.Barrier(len(photos))

    def match(i: int) -> Correspondences:
        barrier.wait()
        return matcher.match(reference, photos[i])

    with ThreadPoolExecutor(len(photos)) as pool:
        for _ in range(20):
            for found, true in zip(pool.map(match, range(len(photos))), alone, strict=True):
                np.testing.assert_array_equal(found.index_a, true.index_a)


def test_frame_on_the_gpu_and_a_stream_of_the_caller(
    matcher: Matcher, device: Device, photos: list[Image]
) -> None:
    frame = matcher.manifest.frames.of(photos[1])
    true = matcher.match(photos[0], photos[1])
    with device.activate():
        stream, pointer = device.create_stream(), device.allocate(frame.nbytes)
        device.copy_to_device(pointer, frame, stream)

    class OnGpu:
        __cuda_array_interface__ = {  # noqa: RUF012
            "version": 3, "shape": frame.shape, "typestr": frame.dtype.str, "data": (pointer, True),
            "strides": None, "stream": stream,
        }  # fmt: skip

    streams = (None, stream) if isinstance(device, CudaPythonDevice) else (None,)
    for used in streams:
        features = matcher.encode(OnGpu(), stream=used)
        found = matcher.match(photos[0], features)
        np.testing.assert_array_equal(found.index_a, true.index_a)
    with device.activate():
        device.free(pointer)
        device.destroy_stream(stream)


def test_frames_of_pytorch(matcher: Matcher, photos: list[Image]) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("PyTorch has no GPU here")
    frame = matcher.manifest.frames.of(photos[1])
    on_gpu = torch.from_numpy(frame).cuda() + 0  # work on PyTorch's own stream
    found = matcher.match(photos[0], matcher.encode(on_gpu))
    np.testing.assert_array_equal(found.index_a, matcher.match(photos[0], photos[1]).index_a)
    assert float(torch.ones(2, device="cuda").sum()) == 2  # its context still works


def test_through_pycuda(
    bundles: Bundles,
    device: Device,
    own_cache: None,
    photos: list[Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pycuda.driver")
    bundle = bundles("float16", "spectral")
    true = Matcher.open(bundle, backend="tensorrt").match(*photos[:2])
    monkeypatch.setattr("dccnet.runtime.cuda.BINDINGS", BINDINGS[::-1])
    through = Matcher.open(bundle, backend="tensorrt")
    for _ in range(3):
        np.testing.assert_array_equal(through.match(*photos[:2]).index_a, true.index_a)


def test_cuda_provider_of_onnx_runtime(
    bundles: Bundles,
    device: Device,
    photos: list[Image],
    truth: list[Correspondences],
) -> None:
    try:
        matcher = Matcher.open(bundles("float32", "stack"), backend="onnxruntime", device="cuda:0")
    except EngineError as error:
        pytest.skip(str(error))
    assert_agrees(matcher.match(*photos[:2]), truth[0], "float32")
