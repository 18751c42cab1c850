"""The GPU backend on an emulation that moves real bytes and computes real matches; no GPU is needed.

Work on the emulated streams runs only when somebody waits for it, so that a missing wait changes results.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import pickle
import runpy
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.cuda import CudaPythonDevice, PyCudaDevice, cuda_problem, devices, open_device
from dccnet.runtime.device_arrays import device_view
from dccnet.runtime.errors import BundleError, EngineError, ImageError, UsageError
from dccnet.runtime.extras import install
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend
from dccnet.runtime.tensorrt import opening
from dccnet.runtime.tensorrt.backend import TensorRTBackend
from dccnet.runtime.tensorrt.builder import BatchRange, BuildSettings
from dccnet.runtime.tensorrt.bundled import add_engines, build_engines
from dccnet.runtime.tensorrt.library import KEPT_MESSAGES, Messages, load_library
from dccnet.runtime.tensorrt.memory import BufferPool
from dccnet.runtime.tensorrt.plan import sidecar_path
from dccnet.runtime.tensorrt.runner import TensorInfo
from dccnet.runtime.tensorrt.workers import WORKERS
from tests.helpers.bundles import Bundles
from tests.helpers.commands import Cli
from tests.helpers.emulation import CUDA, Machine, emulated
from tests.helpers.fake_cuda import CODES, FakeCuda, Properties, real, real_driver
from tests.helpers.fake_tensorrt import Severity
from tests.helpers.tensorrt_api import signatures
from tests.runtime import test_gpu


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    with emulated(tmp_path / "cache", request.param) as found:
        yield found


@pytest.fixture
def classic(tmp_path: Path) -> Iterator[Machine]:
    with emulated(tmp_path / "cache") as found:
        yield found


@pytest.fixture(scope="module")
def expected(bundle: Bundle, photos: list[Image]) -> list[Correspondences]:
    """Correspondences of the first photograph with each photograph."""
    matcher = Matcher.open(bundle, backend="onnxruntime", device="cpu")
    return [matcher.match(photos[0], photo) for photo in photos]


def assert_same(found: Correspondences, true: Correspondences) -> None:
    for name in ("index_a", "score_a", "index_b", "score_b", "heatmap_a", "heatmap_b"):
        np.testing.assert_array_equal(getattr(found, name), getattr(true, name))
    assert (found.size_a, found.size_b) == (true.size_a, true.size_b)


# Matching ---------------------------------------------------------------------------------------


def test_matches_equal_those_of_onnx_runtime(
    machine: Machine, bundle: Bundle, photos: list[Image], expected: list[Correspondences]
) -> None:
    notes: list[str] = []
    matcher = Matcher.open(bundle, on_note=notes.append)
    assert "cuda:0 (Emulated GPU)" in matcher.backend.description and "TensorRT" in notes[0]
    reference = matcher.encode(photos[0])
    for photo, true in zip(photos, expected, strict=True):  # the second run is captured, the third replayed
        assert_same(matcher.match(reference, photo), true)
        assert_same(matcher.match(photos[0], photo), true)
    matcher.backend.close()


def test_only_matches_are_copied_to_the_host(classic: Machine, bundle: Bundle, photos: list[Image]) -> None:
    matcher = Matcher.open(bundle)
    to_host, to_device = (real.cudaMemcpyKind(kind) for kind in (2, 1))
    compared = classic.cuda.copied[to_host]
    reference = matcher.encode(photos[0])
    assert classic.cuda.copied[to_host] == compared
    before = classic.cuda.copied[to_device]
    matcher.match(reference, reference)
    outputs = bundle.manifest.graphs["matcher"].outputs
    nbytes = sum(np.dtype(o.dtype).itemsize * int(np.prod(o.shape[1:])) for o in outputs)  # type: ignore[arg-type]
    assert classic.cuda.copied[to_host] == compared + nbytes and classic.cuda.copied[to_device] == before


def test_memory_is_allocated_once_and_freed(machine: Machine, bundle: Bundle, photos: list[Image]) -> None:
    matcher = Matcher.open(bundle)
    reference = matcher.encode(photos[0])
    matcher.match(reference, photos[1])
    allocated = set(machine.cuda.memory), set(machine.cuda.pinned)
    for photo in photos:
        matcher.match(reference, photo)
    assert allocated == (set(machine.cuda.memory), set(machine.cuda.pinned))
    matcher.backend.close()
    assert len(machine.cuda.memory) == len(reference.tensors)  # the features are still referenced
    del reference
    assert not machine.cuda.memory and not machine.cuda.pinned and not machine.cuda.graphs
    assert set(machine.cuda.streams) == {0, 1, 2}


def assert_nothing_is_left(machine: Machine) -> None:
    gc.collect()
    cuda = machine.cuda
    assert not cuda.memory and not cuda.pinned and not cuda.graphs and set(cuda.streams) == {0, 1, 2}
    assert not machine.tensorrt.engines


def test_matcher_that_is_dropped_leaves_nothing(
    machine: Machine, bundle: Bundle, photos: list[Image]
) -> None:
    class Node:
        """Holds the matcher, which calls it: a cycle."""

        def __init__(self) -> None:
            self.matcher = Matcher.open(bundle, backend="tensorrt", on_note=self.note)

        def note(self, text: str) -> None: ...

    node = Node()
    for _ in range(3):
        features = node.matcher.encode(photos[0])
        node.matcher.match(features, photos[1])
    assert machine.cuda.memory and machine.tensorrt.engines
    del node
    gc.collect()
    assert len(machine.cuda.memory) == len(features.tensors)
    del features
    assert_nothing_is_left(machine)


def test_closed_matcher(machine: Machine, bundle: Bundle, photos: list[Image]) -> None:
    with Matcher.open(bundle, backend="tensorrt") as matcher:
        backend, features = matcher.backend, matcher.encode(photos[0])
        matcher.match(features, features)
    assert not machine.tensorrt.engines and len(machine.cuda.memory) == len(features.tensors)
    matcher.close()
    backend.close()
    uses = ((matcher.encode, photos[:1]), (matcher.match, [features] * 2), (backend.encode, photos[:1]))
    for use, arguments in uses:
        with pytest.raises(EngineError, match="the matcher is closed: open the bundle again"):
            use(*arguments)
    del features, uses, arguments
    assert_nothing_is_left(machine)


def test_closing_goes_on_after_an_error(classic: Machine, bundle: Bundle, photos: list[Image]) -> None:
    matcher = Matcher.open(bundle, backend="tensorrt")
    matcher.match(photos[0], photos[1])
    classic.cuda.fail["cudaFreeHost"] = CODES.cudaErrorIllegalAddress
    with pytest.raises(EngineError, match="cudaFreeHost failed"):
        matcher.close()
    classic.cuda.pinned.clear()
    assert_nothing_is_left(classic)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_matcher_is_pickled_by_its_bundle(
    device: str,
    classic: Machine,
    bundle: Bundle,
    photos: list[Image],
    expected: list[Correspondences],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Matcher.open(bundle, device=device).close()  # builds engines, which name the graph's path
    monkeypatch.chdir(bundle.path.parent)
    matcher = Matcher.open(bundle.path.name, device=device, threads=1, on_note=lambda text: None)
    pickled = pickle.dumps(matcher)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert again.backend.description == matcher.backend.description
    assert_same(again.match(photos[0], photos[1]), expected[1])
    with pytest.raises(TypeError, match=r"only a matcher that Matcher\.open"):
        pickle.dumps(Matcher(matcher.manifest, matcher.backend))


def test_features_may_be_collected_while_memory_is_handed_out(classic: Machine) -> None:
    """The collector can run a finaliser between any two lines of the pool's own methods."""
    device = open_device(0)
    pool = BufferPool(device)
    small, large = (TensorInfo("local", False, (1, size), np.dtype("uint8")) for size in (8, 16))
    garbage = [pool.allocate(small) for _ in range(60)]
    lines = []

    def collect(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename.endswith("memory.py") and event == "line" and garbage:
            lines.append(frame.f_lineno)
            garbage.pop()
        return collect

    def work() -> None:
        sys.settrace(collect)
        with device.activate():
            kept = [pool.allocate(info) for info in (small, large) for _ in range(2)]
            pointers = {tensor.pointer for tensor in kept}
            del kept[:2]
            assert len(pointers) == 4
            pool.close()
        sys.settrace(None)
        done.set()

    done = threading.Event()
    threading.Thread(target=work, daemon=True).start()
    assert done.wait(10), "the pool waits for itself"
    assert len(set(lines)) > 8
    garbage.clear()
    assert not classic.cuda.memory


def test_every_thread_has_its_own_context(
    classic: Machine, bundle: Bundle, photos: list[Image], expected: list[Correspondences]
) -> None:
    matcher = Matcher.open(bundle)
    reference = matcher.encode(photos[0])
    barrier = threading.Barrier(3)

    def match(i: int) -> Correspondences:
        barrier.wait()
        return matcher.match(reference, photos[i])

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            for found, true in zip(pool.map(match, range(3)), expected, strict=True):
                assert_same(found, true)
    # Two engines, compared with their graphs, then at most three calls at once.
    assert 2 + 2 <= classic.tensorrt.contexts <= 2 + 6


def test_engine_is_captured_once_and_replayed(
    classic: Machine, bundle: Bundle, photos: list[Image]
) -> None:
    matcher = Matcher.open(bundle)
    reference = matcher.encode(photos[0])
    for _ in range(4):
        matcher.match(reference, reference)
    assert classic.cuda.launches == 3 and len(classic.cuda.graphs) == 1


def test_engine_that_cannot_be_captured_runs_without_a_graph(
    classic: Machine, bundle: Bundle, photos: list[Image], expected: list[Correspondences]
) -> None:
    classic.cuda.fail["cudaStreamBeginCapture"] = CODES.cudaErrorStreamCaptureUnsupported
    notes: list[str] = []
    matcher = Matcher.open(bundle, on_note=notes.append)
    for _ in range(6):
        assert_same(matcher.match(photos[0], photos[1]), expected[1])
    assert classic.cuda.launches == 0
    told = [note for note in notes if "no CUDA graph was captured" in note]
    advice = ["the next run tries again", "it runs without one"]
    assert [note.rpartition("; ")[2] for note in told] == advice * 2  # each sentence once for each engine
    assert "encoder" in told[0] and "cudaErrorStreamCaptureUnsupported" in told[0]
    assert matcher.backend.description.endswith("(Emulated GPU), 6 failed CUDA graph captures")


def test_capture_is_tried_again(
    classic: Machine, bundle: Bundle, photos: list[Image], expected: list[Correspondences]
) -> None:
    """It can fail once by what another thread does."""
    notes: list[str] = []
    matcher = Matcher.open(bundle, on_note=notes.append)
    reference = matcher.encode(photos[0])
    matcher.match(reference, reference)
    classic.cuda.fail["cudaGraphInstantiate"] = CODES.cudaErrorStreamCaptureInvalidated
    assert_same(matcher.match(reference, reference), expected[0])
    del classic.cuda.fail["cudaGraphInstantiate"]
    for _ in range(2):
        assert_same(matcher.match(reference, reference), expected[0])
    assert classic.cuda.launches == 2 and "the next run tries again" in notes[-1]
    assert matcher.backend.description.endswith("1 failed CUDA graph captures")


def test_features_of_another_backend_are_refused(
    classic: Machine, bundle: Bundle, photos: list[Image]
) -> None:
    features = Matcher.open(bundle, backend="onnxruntime", device="cpu").encode(photos[0])
    with pytest.raises(EngineError, match="encode them again"):
        Matcher.open(bundle).match(features, features)


def test_features_of_another_network_are_refused(
    classic: Machine, bundle: Bundle, photos: list[Image]
) -> None:
    """They would be copied past the end of the memory, or leave the features of an earlier pair there."""
    matcher = Matcher.open(bundle)
    features = matcher.encode(photos[0])
    matcher.match(features, features)
    local = features.tensors["local"]
    batch, channels, *cells = local.shape
    larger = dataclasses.replace(local, shape=(batch, channels + 1, *cells), owner=local)
    half = dataclasses.replace(local, dtype=np.dtype(np.float16), owner=local)
    elsewhere = dataclasses.replace(local, device=1, owner=local)
    for tensors, reason in (
        (dict(features.tensors) | {"local": larger}, "another network"),
        (dict(features.tensors) | {"local": half}, "another network"),
        ({"local": local}, "another network"),
        (dict(features.tensors) | {"local": elsewhere}, "on cuda:1, the matcher is on cuda:0"),
    ):
        other = dataclasses.replace(features, tensors=tensors)
        with pytest.raises(EngineError, match=reason):
            matcher.match(other, features)


# Frames on the GPU ------------------------------------------------------------------------------


def test_frame_on_the_gpu_is_not_copied_to_the_host(
    machine: Machine, bundle: Bundle, photos: list[Image], expected: list[Correspondences]
) -> None:
    matcher = Matcher.open(bundle)
    reference = matcher.encode(photos[0])
    frame = machine.array(bundle.manifest.frames.of(photos[1]))
    before = dict(machine.cuda.copied)
    features = matcher.encode(frame, size=photos[1].shape[:2])  # type: ignore[arg-type]
    to_device = real.cudaMemcpyKind.cudaMemcpyHostToDevice
    assert machine.cuda.copied[to_device] == before[to_device]
    assert_same(
        matcher.match(reference, features), expected[1]
    )  # and the array's own stream was waited for
    exposed = features.tensors["local"].__cuda_array_interface__
    assert exposed["shape"][0] == 1 and exposed["data"][0] in machine.cuda.memory


def test_pytorch_takes_features(classic: Machine, bundle: Bundle, photos: list[Image]) -> None:
    features = Matcher.open(bundle).encode(photos[0])
    assert features.tensors["local"].__cuda_array_interface__["data"][1] is False
    if torch.cuda.is_available():
        return  # the address is the emulation's
    with pytest.raises((RuntimeError, AssertionError)) as caught:  # not TypeError: the array is accepted
        torch.as_tensor(features.tensors["local"])
    assert "driver" in str(caught.value) or "not compiled with CUDA" in str(caught.value)


@pytest.mark.parametrize("kind", ["own", "default"])
def test_work_is_ordered_with_the_callers_stream(
    kind: str,
    machine: Machine,
    bundle: Bundle,
    photos: list[Image],
    expected: list[Correspondences],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matcher = Matcher.open(bundle)
    reference = matcher.encode(photos[0])
    cuda = machine.cuda
    stream = cuda.module.cudaStreamCreateWithFlags(1)[1] if kind == "own" else 0
    order: list[str] = []
    used: set[int] = set()
    enqueue, launch, synchronize = cuda.enqueue, cuda.cudaGraphLaunch, cuda.cudaStreamSynchronize

    def run(handle: int, work: Callable[[], None]) -> None:
        used.add(handle)

        def work_and_note() -> None:
            work()
            order.append("engine")

        enqueue(handle, work_and_note)

    def replay(executable: int, handle: int) -> None:
        used.add(handle)
        launch(executable, handle)

    def wait(handle: int) -> None:
        cuda.enqueue(stream, lambda: order.append("later"))  # before the host waited for anything
        cuda.drain(stream)
        synchronize(handle)

    machine.tensorrt.enqueue = run
    monkeypatch.setattr(cuda, "cudaStreamSynchronize", wait)
    monkeypatch.setattr(cuda, "cudaGraphLaunch", replay)
    for _ in range(3):
        cuda.enqueue(stream, lambda: order.append("earlier"))
        features = matcher.encode(photos[1], stream=stream)
        cuda.enqueue(stream, lambda: order.append("earlier"))
        assert_same(matcher.match(reference, features, stream=stream), expected[1])
    assert order == ["earlier", "engine", "later"] * 6
    assert used and not used & {0, 1, 2, stream}


class DLPack:
    """An array that claims to be on a GPU, with a capsule of NumPy."""

    def __init__(self, values: np.ndarray[Any, Any], device: tuple[int, int] = (2, 0)) -> None:
        self._values, self._device, self.stream = values, device, 0

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: int) -> Any:
        self.stream = stream
        return self._values.__dlpack__()


def test_dlpack_is_read_and_freed() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    count = sys.getrefcount(values)
    array = DLPack(values)
    view = device_view(array, 0)
    assert view is not None and array.stream == 1 == view.stream
    assert (view.pointer, view.shape, view.dtype) == (values.ctypes.data, (2, 4, 3), "uint8")
    del view, array
    assert sys.getrefcount(values) == count
    assert device_view(DLPack(values, (1, 0)), 0) is None  # on the host


def test_dlpack_is_preferred_to_an_interface_without_streams() -> None:
    class Both(DLPack):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            return {"version": 2, "shape": (1,), "typestr": "|u1", "data": (1, False)}

    view = device_view(Both(np.zeros((2, 2, 3), np.float32)), 0)
    assert view is not None and view.shape == (2, 2, 3) and view.dtype == "float32"


def interface(**changes: Any) -> Any:
    values = {"version": 3, "shape": (96, 80, 3), "typestr": "<f4", "data": (4096, False), "strides": None}
    return SimpleNamespace(__cuda_array_interface__=values | changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shape": (80, 96, 3)}, r"own shape and type, \(96, 80, 3\), float32 BGR from 0 to 255"),
        ({"typestr": "|u1"}, "uint8"),
        ({"strides": (1920, 24, 4)}, "without gaps: make it contiguous"),
    ],
)
def test_unsuitable_frames_on_the_gpu(
    changes: dict[str, Any], sentence: str, classic: Machine, bundle: Bundle
) -> None:
    with pytest.raises(ImageError, match=sentence):
        Matcher.open(bundle).encode(interface(**changes))


def test_frame_on_another_gpu(classic: Machine, bundle: Bundle) -> None:
    frame = DLPack(np.zeros((96, 80, 3), np.uint8), (2, 3))
    with pytest.raises(ImageError, match="on cuda:3, the engines are on cuda:0: move it"):
        Matcher.open(bundle).encode(frame)


def test_frame_is_exported_on_its_own_gpu(classic: Machine, bundle: Bundle, photos: list[Image]) -> None:
    classic.cuda.gpus = (Properties(), Properties(name=b"Second"))
    matcher = Matcher.open(bundle, device="cuda:1")
    frame = bundle.manifest.frames.of(photos[0])

    class Tensor(DLPack):
        """Exports itself only while its GPU is the current one, as tensors of PyTorch do."""

        def __dlpack__(self, *, stream: int) -> Any:
            if classic.cuda.cudaGetDevice() != 1:
                raise BufferError("Can't export tensors on a different CUDA device index.")
            return super().__dlpack__(stream=stream)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classic.cuda, "_check", lambda pointer, count: None)  # DLPack's memory is NumPy's
        found = matcher.encode(Tensor(frame, (2, 1)), size=photos[0].shape[:2])  # type: ignore[arg-type]
    assert_same(matcher.match(found, photos[1]), matcher.match(photos[0], photos[1]))


def test_backend_on_the_cpu_takes_no_frames_from_a_gpu(bundle: Bundle) -> None:
    with pytest.raises(ImageError, match="takes frames in host memory"):
        Matcher.open(bundle, device="cpu").encode(interface())


# Which engine -----------------------------------------------------------------------------------


def test_engines_are_built_on_first_use_and_cached(
    machine: Machine, bundle: Bundle, tmp_path: Path
) -> None:
    notes: list[str] = []
    for _ in range(2):
        Matcher.open(bundle, backend="tensorrt", on_note=notes.append).backend.close()
    kernels = [note for note in notes if "compiles kernels" in note]  # of TensorRT-RTX, once
    assert len(notes) == 1 + len(kernels) and "this is done once" in notes[0]
    plans = sorted(p.name for p in (tmp_path / "cache/dcc/engines").rglob("*.engine"))
    assert [name.split(".")[0] for name in plans] == ["encoder", "matcher"]
    machine.cuda.gpus = (Properties(name=b"Another GPU"),)
    Matcher.open(bundle, backend="tensorrt", on_note=notes.append)
    assert len(notes) == 2 * (1 + len(kernels))  # engines tuned for one GPU are not used on another


@pytest.fixture
def with_engines(classic: Machine, bundle: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(bundle.path, tmp_path / "b")
    copied = Bundle.open(tmp_path / "b")
    library = load_library("tensorrt")
    return add_engines(copied, build_engines(copied, library, BuildSettings()))


def test_engines_in_the_bundle_come_first(
    with_engines: Bundle, photos: list[Image], expected: list[Correspondences]
) -> None:
    notes: list[str] = []
    matcher = Matcher.open(with_engines, backend="tensorrt", on_note=notes.append)
    assert not notes
    assert_same(matcher.match(photos[0], photos[1]), expected[1])


def test_engine_in_the_bundle_that_does_not_fit_is_passed_over(
    with_engines: Bundle, classic: Machine
) -> None:
    classic.tensorrt.module.__version__ = "11.5.0.1"
    notes: list[str] = []
    Matcher.open(with_engines, backend="tensorrt", on_note=notes.append)
    assert "11.4.0.106 and 11.5.0.1 is installed" in notes[0] and "building engines" in notes[1]


def test_engine_of_another_graph_is_passed_over(with_engines: Bundle) -> None:
    records = tuple(
        dataclasses.replace(record, onnx_sha256="0" * 64) for record in with_engines.manifest.engines
    )
    write_manifest(with_engines.path, dataclasses.replace(with_engines.manifest, engines=records))
    notes: list[str] = []
    Matcher.open(Bundle.open(with_engines.path), backend="tensorrt", on_note=notes.append)
    assert "was built from another encoder" in notes[0]


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
@pytest.mark.parametrize("where", ["in the bundle", "built"])
def test_a_manifest_with_another_grid_is_refused_when_it_is_opened(
    backend: str, where: str, with_engines: Bundle
) -> None:
    """Rows and columns exchanged fit every array, and would place matches wrongly without a word."""
    manifest = with_engines.manifest
    engines = manifest.engines if where == "in the bundle" else ()
    changed = dataclasses.replace(manifest, grid=manifest.grid[::-1], engines=engines)
    for path in with_engines.path.glob("*engine*") if where == "built" else ():
        path.unlink()
    write_manifest(with_engines.path, changed)
    with pytest.raises(BundleError, match=r"contradicts itself: its manifest says \(5, 6\) for 'local'"):
        Matcher.open(Bundle.open(with_engines.path), backend=backend)


def test_altered_engine_is_never_loaded(with_engines: Bundle, classic: Machine) -> None:
    plan = with_engines.path / "matcher.tensorrt.engine"
    plan.write_bytes(plan.read_bytes() + b" ")
    notes: list[str] = []
    Matcher.open(with_engines, backend="tensorrt", on_note=notes.append)
    assert "is not the engine that was built" in notes[0] and "building engines" in notes[1]


@pytest.fixture
def with_foreign_engines(with_engines: Bundle) -> Bundle:
    """Engines and sidecars that fit lie in the bundle, but its manifest does not name them."""
    write_manifest(with_engines.path, dataclasses.replace(with_engines.manifest, engines=()))
    return Bundle.open(with_engines.path)


def test_engines_that_the_manifest_does_not_name_are_never_loaded(
    with_foreign_engines: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    monkeypatch.setattr(opening, "load_engines", lambda *arguments: loaded.append(arguments))
    with pytest.raises(EngineError, match=r"not named in the bundle's manifest.*--trust-engine"):
        Matcher.open(with_foreign_engines, backend="tensorrt")
    assert not loaded


@pytest.mark.parametrize("sidecars", [True, False])
def test_engines_that_the_user_trusts_are_loaded(
    sidecars: bool, with_foreign_engines: Bundle, photos: list[Image], expected: list[Correspondences]
) -> None:
    if not sidecars:
        for name in ("encoder", "matcher"):
            sidecar_path(with_foreign_engines.path / f"{name}.tensorrt.engine").unlink()
    trusting = Matcher.open(with_foreign_engines, backend="tensorrt", trust_engine=True)
    assert_same(trusting.match(photos[0], photos[1]), expected[1])


def test_an_edited_sidecar_changes_nothing(
    with_engines: Bundle, photos: list[Image], expected: list[Correspondences]
) -> None:
    for record in with_engines.manifest.engines:
        path = sidecar_path(with_engines.path / record.file)
        path.write_text(path.read_text().replace(record.sha256, "0" * 64))
    matcher = Matcher.open(with_engines, backend="tensorrt")
    assert_same(matcher.match(photos[0], photos[1]), expected[1])


def test_a_cache_that_others_can_write_is_closed_to_them(classic: Machine, bundle: Bundle) -> None:
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "dcc" / "engines"
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o777)
    Matcher.open(bundle, backend="tensorrt")
    assert cache.stat().st_mode & 0o777 == 0o755


def test_a_cache_of_another_user_is_refused(
    classic: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(EngineError, match=r"belongs to another user.*XDG_CACHE_HOME"):
        Matcher.open(bundle, backend="tensorrt")


def test_without_a_home_engines_say_what_to_set(
    classic: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(EngineError, match="no home folder: set HOME, or set XDG_CACHE_HOME"):
        Matcher.open(bundle, backend="tensorrt")


@pytest.fixture
def unusable_cache(monkeypatch: pytest.MonkeyPatch) -> Path:
    """``XDG_CACHE_HOME`` where no folder can be created: its parent is a file."""
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "file" / "cache"
    cache.parent.parent.mkdir(parents=True, exist_ok=True)
    cache.parent.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


def test_engines_in_the_bundle_need_no_cache(
    with_engines: Bundle, unusable_cache: Path, photos: list[Image], expected: list[Correspondences]
) -> None:
    notes: list[str] = []
    matcher = Matcher.open(with_engines, backend="tensorrt", on_note=notes.append)
    assert not notes
    assert_same(matcher.match(photos[0], photos[1]), expected[1])


def test_without_a_cache_it_is_said_why_the_engines_in_the_bundle_did_not_do(
    with_engines: Bundle, classic: Machine, unusable_cache: Path
) -> None:
    classic.tensorrt.module.__version__ = "11.5.0.1"
    with pytest.raises(EngineError, match=r"11\.5\.0\.1 is installed.*; engines cannot be kept"):
        Matcher.open(with_engines, backend="tensorrt")


def test_engine_without_a_batch_of_one(classic: Machine, bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    copied = Bundle.open(tmp_path / "b")
    settings = BuildSettings(batch=BatchRange(2, 2, 4))
    with_pairs = add_engines(copied, build_engines(copied, load_library("tensorrt"), settings))
    with pytest.raises(EngineError, match=r"has no batch of one; build it with --batch 1:1:1"):
        Matcher.open(with_pairs, backend="tensorrt").encode(np.zeros((9, 9, 3), np.uint8))
    assert not classic.cuda.memory


# Choosing ---------------------------------------------------------------------------------------


def test_auto_without_a_gpu_is_the_cpu(bundle: Bundle, tmp_path: Path) -> None:
    with emulated(tmp_path) as machine:
        for answer in (CODES.cudaErrorNoDevice, CODES.cudaErrorInsufficientDriver):
            machine.cuda.start = answer
            notes: list[str] = []
            matcher = Matcher.open(bundle, on_note=notes.append)
            assert isinstance(matcher.backend, OnnxRuntimeBackend) and not notes
            assert "(CPU)" in matcher.backend.description


def test_auto_reports_the_backends_that_it_passed_over(classic: Machine, bundle: Bundle) -> None:
    classic.tensorrt.fail = {"build_serialized_network"}
    notes: list[str] = []
    matcher = Matcher.open(bundle, on_note=notes.append)
    assert "(CPU)" in matcher.backend.description
    assert "no implementation" in notes[1] and "CUDAExecutionProvider" in notes[2]


def test_requested_gpu_is_not_replaced_by_the_cpu(classic: Machine, bundle: Bundle) -> None:
    classic.tensorrt.fail = {"build_serialized_network"}
    with pytest.raises(EngineError, match="nothing runs on cuda:0"):
        Matcher.open(bundle, device="cuda:0")
    classic.cuda.start = CODES.cudaErrorInsufficientDriver
    with pytest.raises(EngineError, match=r"--device cuda cannot be used: .*NVIDIA driver"):
        Matcher.open(bundle, device="cuda")


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"backend": "directml"}, "no backend 'directml'"),
        ({"backend": "tensorrt", "device": "cpu"}, "remove --device cpu"),
        ({"backend": "tensorrt", "provider": "cuda"}, "and --provider"),
        ({"provider": "cpu", "device": "cuda:0"}, "does not run on cuda:0"),
        ({"provider": "cuda", "device": "cpu"}, "remove --device cpu"),
    ],
)
def test_choices_that_contradict_themselves(choice: dict[str, str], sentence: str, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=sentence):
        Matcher.open(bundle, **choice)  # type: ignore[arg-type]


def test_gpu_index_that_does_not_exist(classic: Machine, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="there is no cuda:3: this machine has only cuda:0"):
        Matcher.open(bundle, device="cuda:3", backend="tensorrt")


def test_tensorrt_without_a_library(classic: Machine, bundle: Bundle) -> None:
    sys.modules["tensorrt"] = None  # type: ignore[assignment]
    with pytest.raises(EngineError, match="no engine library is installed: pip install"):
        Matcher.open(bundle, backend="tensorrt")


def test_tensorrt_from_the_command_line_without_a_driver(
    bundle: Bundle, pictures: list[Path], dcc: Cli
) -> None:
    if cuda_problem() is None:
        pytest.skip("this machine has a GPU")
    for arguments in (("--backend", "tensorrt"), ("--device", "cuda:0")):
        result = dcc("match", bundle.path, *pictures[:2], *arguments)
        assert result.returncode == 1 and "dcc doctor" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


# Failures on a GPU -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "sentence"),
    [
        ("create_execution_context", "has no memory on the GPU to run"),
        ("deserialize_cuda_engine", r"cannot load .*encoder.*build it again"),
    ],
)
def test_failures_of_the_library(member: str, sentence: str, classic: Machine, bundle: Bundle) -> None:
    Matcher.open(bundle, backend="tensorrt")  # builds
    classic.tensorrt.fail = {member}
    with pytest.raises(EngineError, match=sentence):
        matcher = Matcher.open(bundle, backend="tensorrt")
        matcher.encode(np.zeros((9, 9, 3), np.uint8))


def test_failed_run(classic: Machine, bundle: Bundle, photos: list[Image]) -> None:
    matcher = Matcher.open(bundle, backend="tensorrt")
    classic.tensorrt.fail = {"execute_async_v3"}
    with pytest.raises(EngineError, match="failed in"):
        matcher.encode(photos[0])


def test_reason_of_a_failure_is_not_an_earlier_error(
    classic: Machine, bundle: Bundle, photos: list[Image]
) -> None:
    matcher = Matcher.open(bundle, backend="tensorrt")
    assert isinstance(matcher.backend, TensorRTBackend)
    for engine in matcher.backend._workers._engines:
        engine.messages.logger.log(Severity.ERROR, "an hour ago")
    classic.tensorrt.fail = {"execute_async_v3"}
    with pytest.raises(EngineError, match=r"failed in .*: no reason given"):
        matcher.encode(photos[0])


def test_messages_are_bounded(classic: Machine) -> None:
    messages = Messages(classic.tensorrt.module)
    for severity in Severity:
        for i in range(KEPT_MESSAGES + 10):
            messages.logger.log(severity, f"message {i}")
    kept = (messages.errors, messages.warnings, messages.reports)
    assert [len(texts) for texts in kept] == [KEPT_MESSAGES] * 3
    assert messages.reports[-1] == f"message {KEPT_MESSAGES + 9}"


def test_memory_that_the_library_does_not_take(
    classic: Machine, bundle: Bundle, photos: list[Image]
) -> None:
    matcher = Matcher.open(bundle, backend="tensorrt")
    classic.tensorrt.fail = {"set_tensor_address"}
    with pytest.raises(EngineError, match=r"does not take the memory for frame of .*encoder"):
        matcher.encode(photos[0])
    assert not classic.cuda.memory


def test_full_gpu(classic: Machine, bundle: Bundle, photos: list[Image]) -> None:
    matcher = Matcher.open(bundle, backend="tensorrt")
    classic.cuda.fail["cudaMalloc"] = CODES.cudaErrorMemoryAllocation
    with pytest.raises(EngineError, match=r"cudaMalloc failed: .*close other programs on the GPU"):
        matcher.encode(photos[0])


def test_worker_that_cannot_be_created_leaves_no_memory(
    classic: Machine, bundle: Bundle, photos: list[Image]
) -> None:
    matcher = Matcher.open(bundle, backend="tensorrt")
    classic.cuda.fail["cudaMallocHost"] = CODES.cudaErrorMemoryAllocation
    for _ in range(2):
        with pytest.raises(EngineError, match="cudaMallocHost"):
            matcher.encode(photos[0])
    assert not classic.cuda.memory and set(classic.cuda.streams) == {0, 1, 2}
    del classic.cuda.fail["cudaMallocHost"]
    matcher.match(photos[0], photos[1])


@pytest.mark.parametrize("interrupts", [1, 2])
def test_interrupted_wait_leaves_no_work_behind(
    interrupts: int,
    machine: Machine,
    bundle: Bundle,
    photos: list[Image],
    expected: list[Correspondences],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Buffers are free for others after the exception; work that is still queued would write to them."""
    matcher = Matcher.open(bundle, backend="tensorrt")
    cuda, reference = machine.cuda, matcher.encode(photos[0])
    synchronize = cuda.cudaStreamSynchronize
    left = 0

    def interrupted(stream: int) -> None:
        nonlocal left
        if left:
            left -= 1
            raise KeyboardInterrupt
        synchronize(stream)

    monkeypatch.setattr(cuda, "cudaStreamSynchronize", interrupted)
    for arguments in ((photos[2], photos[1]), (reference, reference)):
        left = interrupts
        with pytest.raises(KeyboardInterrupt):
            matcher.match(*arguments)
        assert not any(cuda.streams.values()) and left == 0
        assert_same(matcher.match(reference, photos[1]), expected[1])
    matcher.backend.close()
    del reference, arguments
    assert not cuda.memory and not cuda.pinned


def test_concurrent_calls_are_bounded(
    classic: Machine,
    bundle: Bundle,
    photos: list[Image],
    expected: list[Correspondences],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matcher = Matcher.open(bundle, backend="tensorrt")
    synchronize = CudaPythonDevice.synchronize
    barrier = threading.Barrier(12)

    def slow(device: CudaPythonDevice, stream: int) -> None:
        time.sleep(0.1)
        synchronize(device, stream)

    def match(i: int) -> Correspondences:
        barrier.wait()
        return matcher.match(photos[0], photos[i % 3])

    monkeypatch.setattr(CudaPythonDevice, "synchronize", slow)
    with ThreadPoolExecutor(12) as pool:
        for i, found in enumerate(pool.map(match, range(12))):
            assert_same(found, expected[i % 3])
    assert classic.tensorrt.contexts == 2 + 2 * WORKERS  # two engines, compared once, for each


# CUDA itself ------------------------------------------------------------------------------------


@pytest.fixture(params=["cuda-python", "PyCUDA"])
def two_gpus(
    request: pytest.FixtureRequest, classic: Machine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    classic.cuda.gpus = (Properties(), Properties(name=b"Second", major=12, minor=0))
    if request.param == "PyCUDA":
        use_pycuda(classic.cuda, monkeypatch)
    yield classic


def in_new_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_active_device_is_restored(two_gpus: Machine) -> None:
    cuda = two_gpus.cuda
    assert [(gpu.name, gpu.capability) for gpu in devices()][1] == ("Second", (12, 0))
    first, second = open_device(0), open_device(1)

    def work() -> tuple[int, int, list[int]]:
        with second.activate():
            there = [cuda.context_of[second.allocate(8)]]
            with first.activate():
                there.append(cuda.context_of[first.allocate(8)])
            there.append(cuda.context_of[second.allocate(8)])
        return cuda.current(), cuda.cudaGetDevice(), there

    true = [cuda.primary(1), cuda.primary(0), cuda.primary(1)]
    assert in_new_thread(work) == (0, 0, true)  # a new thread has no context, and has none afterwards


def test_activation_creates_no_context_on_another_gpu(two_gpus: Machine) -> None:
    device = open_device(1)

    def work() -> None:
        with device.activate():
            device.allocate(8)

    in_new_thread(work)
    assert list(two_gpus.cuda.contexts.values()) == [1]


def test_context_of_the_caller_stays_current(two_gpus: Machine) -> None:
    cuda, device = two_gpus.cuda, open_device(1)

    def work() -> None:
        own = cuda.create_context(1)
        cuda.make_current(own)
        with device.activate():
            assert cuda.current() == cuda.primary(1)
        with pytest.raises(KeyError), device.activate():
            raise KeyError
        assert cuda.current() == own

    in_new_thread(work)


def test_context_that_cannot_be_created(classic: Machine) -> None:
    classic.cuda.fail["cuDevicePrimaryCtxRetain"] = real_driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(EngineError, match=r"cuDevicePrimaryCtxRetain failed: .*close other programs"):
        open_device(0)


def test_no_binding_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CUDA, "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    assert install("gpu") in str(cuda_problem())


def test_milliseconds_between_events(classic: Machine) -> None:
    device = open_device(0)
    start, end = device.create_event(), device.create_event()
    device.record(start, 1)
    device.record(end, 1)
    assert device.milliseconds(start, end) == 1.5


def fake_pycuda(cuda: FakeCuda) -> Any:
    """The parts of PyCUDA's driver module that dccnet.runtime.cuda calls, with the same emulation."""
    runtime = cuda.module
    driver: Any = ModuleType("pycuda.driver")

    class Context:
        depth = 0

        def __init__(self, index: int) -> None:
            self._handle = cuda.primary(index)

        def push(self) -> None:
            Context.depth += 1
            cuda.cuCtxPushCurrent(self._handle)

        @staticmethod
        def pop() -> None:
            Context.depth -= 1
            cuda.cuCtxPopCurrent()

        @staticmethod
        def synchronize() -> None:
            for stream in list(cuda.streams):
                cuda.drain(stream)

    class Device:
        def __init__(self, index: int) -> None:
            self._index, self._gpu = index, cuda.gpus[index]

        @staticmethod
        def count() -> int:
            return len(cuda.gpus)

        def name(self) -> str:
            return self._gpu.name.decode()

        def compute_capability(self) -> tuple[int, int]:
            return self._gpu.major, self._gpu.minor

        def total_memory(self) -> int:
            return self._gpu.totalGlobalMem

        def retain_primary_context(self) -> Context:
            return Context(self._index)

    class Allocation:
        def __init__(self, nbytes: int) -> None:
            assert Context.depth, "no context is active"
            self._pointer: int = runtime.cudaMalloc(nbytes)[1]

        def __int__(self) -> int:
            return self._pointer

        def free(self) -> None:
            runtime.cudaFree(self._pointer)

    class Pagelocked(np.ndarray[Any, Any]):
        freed = 0

        def free(self) -> None:
            Pagelocked.freed += 1

    class Stream:
        def __init__(self) -> None:
            self.handle: int = runtime.cudaStreamCreateWithFlags(1)[1]

        def synchronize(self) -> None:
            cuda.drain(self.handle)

        def wait_for_event(self, event: Event) -> None:
            runtime.cudaStreamWaitEvent(self.handle, event.event, 0)

    class Event:
        def __init__(self) -> None:
            self.event: int = runtime.cudaEventCreateWithFlags(0)[1]

        def record(self, stream: Stream | None = None) -> None:
            runtime.cudaEventRecord(self.event, 0 if stream is None else stream.handle)

        def synchronize(self) -> None:
            Context.synchronize()

        def time_since(self, start: Event) -> float:
            return 2.5

    def copy(kind: int) -> Any:
        def async_(dest: Any, src: Any, *rest: Any) -> None:
            *size, stream = rest
            pointers = [x.ctypes.data if isinstance(x, np.ndarray) else int(x) for x in (dest, src)]
            nbytes = size[0] if size else next(x.nbytes for x in (dest, src) if isinstance(x, np.ndarray))
            handle = 0 if stream is None else stream.handle
            runtime.cudaMemcpyAsync(*pointers, nbytes, real.cudaMemcpyKind(kind), handle)

        return async_

    driver.Error = type("Error", (Exception,), {})
    driver.init = lambda: None
    driver.Device, driver.Stream, driver.Event, driver.Pagelocked = Device, Stream, Event, Pagelocked
    driver.mem_alloc = Allocation
    driver.pagelocked_empty = lambda shape, dtype: np.zeros(shape, dtype).view(Pagelocked)[:]
    driver.memcpy_htod_async, driver.memcpy_dtoh_async, driver.memcpy_dtod_async = map(copy, (1, 2, 3))
    return driver


def use_pycuda(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Any:
    driver = fake_pycuda(cuda)
    monkeypatch.setitem(sys.modules, CUDA, None)
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return driver


def test_pycuda_is_used_where_cuda_python_is_missing(
    classic: Machine,
    monkeypatch: pytest.MonkeyPatch,
    bundle: Bundle,
    photos: list[Image],
    expected: list[Correspondences],
) -> None:
    driver = use_pycuda(classic.cuda, monkeypatch)
    matcher = Matcher.open(bundle)
    assert isinstance(matcher.backend, TensorRTBackend)
    assert isinstance(open_device(0), PyCudaDevice)
    for _ in range(3):
        assert_same(matcher.match(photos[0], photos[1]), expected[1])
    frame = classic.array(bundle.manifest.frames.of(photos[1]))
    with pytest.raises(EngineError, match="takes no streams of other libraries"):
        matcher.encode(photos[0], stream=frame.stream)
    matcher.backend.close()
    assert driver.Pagelocked.freed > 0
    driver.Device.count = staticmethod(lambda: (_ for _ in ()).throw(driver.Error("no driver")))
    assert cuda_problem() == "CUDA does not start (no driver)"


# The suite and the benchmark for a real GPU ------------------------------------------------------


def test_gpu_suite_runs_on_the_emulation(
    classic: Machine, bundles: Bundles, photos: list[Image], expected: list[Correspondences]
) -> None:
    """Except for the tests that need PyTorch, PyCUDA or ONNX Runtime on a real GPU."""
    device, library = open_device(0), load_library("tensorrt")
    for precision in ("float32", "float16"):
        test_gpu.test_engine_agrees_with_onnx_runtime(
            precision, "spectral", bundles, library, device, photos, expected[1:]
        )
    matcher = Matcher.open(bundles("float16", "spectral"), backend="tensorrt")
    test_gpu.test_every_thread_gets_its_own_result(matcher, photos)
    test_gpu.test_frame_on_the_gpu_and_a_stream_of_the_caller(matcher, device, photos)


def test_gpu_benchmark_runs_on_the_emulation(
    classic: Machine, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report.json"
    arguments = ["gpu.py", str(bundle.path), "--rounds", "2", "--report", str(report)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path("benchmarks/gpu.py", run_name="__main__")
    engine, provider = json.loads(report.read_text())["rows"]
    assert engine["identical_cells"] == 1 and engine["largest_score_difference"] == 0
    assert engine["encoder_gpu_ms"] == engine["matcher_gpu_ms"] == 1.5 / 2  # two runs between the events
    assert all(engine[f"{step}_ms"]["median"] > 0 for step in ("encode", "match", "frame", "pair"))
    assert "CUDAExecutionProvider" in provider["error"]
    classic.cuda.start = CODES.cudaErrorNoDevice
    with pytest.raises(SystemExit, match="nothing was measured: CUDA finds no GPU"):
        runpy.run_path("benchmarks/gpu.py", run_name="__main__")


# Names and signatures ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uses(
    bundle: Bundle, photos: list[Image], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Machine]:
    """The calls of building, loading, matching, encoding a frame on the GPU, and closing."""
    machines = {}
    for library in ("tensorrt", "tensorrt_rtx"):
        folder = tmp_path_factory.mktemp(library)
        with emulated(folder / "cache", library) as machine:
            classic = library == "tensorrt"
            settings = BuildSettings(
                workspace=1 << 20,
                optimization_level=3,
                targets=() if classic else ("sm86",),
                timing_cache=folder / "t.cache" if classic else None,
                hardware_compatibility="same-capability" if classic else "none",
            )
            build_engines(bundle, load_library(library), settings)
            matcher = Matcher.open(bundle, backend="tensorrt")
            frame = machine.array(bundle.manifest.frames.of(photos[0]))
            for _ in range(3):
                matcher.match(matcher.encode(frame), photos[1])
            matcher.backend.close()
        machines[library] = machine
    return machines


def test_tensorrt_is_called_according_to_the_listing_of_its_api(uses: dict[str, Machine]) -> None:
    """The emulation rejects any other call; this test shows that it was used."""
    called = {(title, name) for title, name, _ in uses["tensorrt"].tensorrt.uses}
    assert {
        ("Builder", "build_serialized_network"),
        ("IBuilderConfig", "set_timing_cache"),
        ("IBuilderConfig", "hardware_compatibility_level"),
        ("EngineInspector", "get_engine_information"),
        ("IExecutionContext", "execute_async_v3"),
    } <= called


def test_tensorrt_rtx_itself_accepts_every_call(uses: dict[str, Machine]) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    checked = 0
    for title, name, count in uses["tensorrt_rtx"].tensorrt.uses:
        member = getattr(getattr(trt, title), name)  # AttributeError: it does not exist
        if count < 0:
            assert not callable(member) or isinstance(member, type), f"{title}.{name} is not a property"
            continue
        listed = signatures(str(member.__doc__))
        assert listed, f"{title}.{name}: {member.__doc__}"
        assert any(s.required <= count <= len(s.names) for s in listed), f"{title}.{name} with {count}"
        checked += 1
    assert checked >= 20
    for name in ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121"):
        assert hasattr(trt.ComputeCapability, name)
    assert hasattr(trt.CudaGraphStrategy, "WHOLE_GRAPH_CAPTURE")


def test_cuda_python_itself_accepts_every_call(uses: dict[str, Machine]) -> None:
    """The emulation checks each call with the real signature; this test shows that all were called."""
    called = uses["tensorrt"].cuda.uses
    own = {name for name in dir(FakeCuda) if name.startswith("cu") and callable(getattr(FakeCuda, name))}
    own.remove("current")
    # These are tested above, or by the emulation's own calls.
    others = {"cudaGetErrorString", "cuGetErrorString", "cudaEventElapsedTime"}
    assert own - called == {*others, "cudaGetDevice", "cudaSetDevice"}
