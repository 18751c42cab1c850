"""Engines in batches, kernels that TensorRT-RTX keeps, and TensorRT 10: all on the emulation."""

from __future__ import annotations

import gc
import hashlib
import re
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.commands.match import match as match_command
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.cuda import open_device
from dccnet.runtime.dlpack import CPU, CUDA, export_capsule
from dccnet.runtime.errors import EngineError, NotVerifiedError, UsageError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.tensorrt.backend import TensorRTBackend
from dccnet.runtime.tensorrt.builder import BatchRange, BuildSettings
from dccnet.runtime.tensorrt.bundled import add_engines, build_engines
from dccnet.runtime.tensorrt.library import RTX, TENSORRT, Library, load_library
from tests.helpers.bundles import Bundles
from tests.helpers.emulation import Machine, emulated
from tests.helpers.fake_cuda import CODES, Properties

TENSORRT_10 = ("10.3.0.26", "10.16.1.11")


@pytest.fixture(scope="module")
def expected(bundle: Bundle, photos: list[Image]) -> list[Correspondences]:
    """Correspondences of the first photograph with each photograph."""
    matcher = Matcher.open(bundle, backend="onnxruntime", device="cpu")
    return [matcher.match(photos[0], photo) for photo in photos]


@pytest.fixture(params=[TENSORRT, RTX])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    with emulated(tmp_path / "cache", request.param) as found:
        yield found


@pytest.fixture
def rtx(tmp_path: Path) -> Iterator[Machine]:
    with emulated(tmp_path / "cache", RTX) as found:
        yield found


def assert_same(found: Correspondences, true: Correspondences) -> None:
    np.testing.assert_array_equal(found.index_a, true.index_a)
    # A batch is summed in another order.
    np.testing.assert_allclose(found.score_a, true.score_a, rtol=1e-5, atol=1e-7)


# Batches ----------------------------------------------------------------------------------------


def with_engines(bundle: Bundle, folder: Path, batch: BatchRange, machine: Machine) -> Bundle:
    shutil.copytree(bundle.path, folder)
    copied = Bundle.open(folder)
    library = load_library(machine.tensorrt.module.__name__)
    settings = BuildSettings(batch=batch, targets=("sm86",) if library.is_rtx else ())
    return add_engines(copied, build_engines(copied, library, settings, device=open_device(0)))


def sizes_of_runs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that engines run from now on."""
    sizes: list[int] = []
    context = machine.tensorrt.module.IExecutionContext
    execute = context._execute

    def noted(self: object) -> None:
        sizes.append(next(iter(self._shapes.values()))[0])  # type: ignore[attr-defined]
        execute(self)

    monkeypatch.setattr(context, "_execute", noted)
    return sizes


def test_pictures_and_pairs_run_in_batches(
    machine: Machine,
    bundle: Bundle,
    photos: list[Image],
    expected: list[Correspondences],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matcher = Matcher.open(with_engines(bundle, tmp_path / "b", BatchRange(1, 2, 3), machine))
    sizes = sizes_of_runs(machine, monkeypatch)
    pairs = [(photos[0], photo) for photo in photos] * 2
    for _ in range(2):
        for found, true in zip(matcher.match_many(pairs, batch=6, cache_gb=0), expected * 2, strict=True):
            assert_same(found, true)
    matches = 2 * [3, 3]  # not more than the engine takes
    assert [size for size in sizes if size > 1] == [3, *matches[:2], 3, *matches[2:]]
    assert_same(matcher.match(photos[0], photos[1]), expected[1])  # and one at a time again
    matcher.close()
    gc.collect()
    assert not machine.cuda.memory and not machine.cuda.pinned and not machine.cuda.graphs


def test_batches_are_captured_and_graphs_of_other_sizes_dropped(
    bundle: Bundle, photos: list[Image], expected: list[Correspondences], tmp_path: Path
) -> None:
    with emulated(tmp_path / "cache") as machine:
        opened = with_engines(bundle, tmp_path / "b", BatchRange(1, 1, 4), machine)
        matcher = Matcher.open(opened, backend="tensorrt")
        features = matcher.encode(photos[0])
        others = [matcher.encode(photo) for photo in photos]
        for count in (2, 2, 2, 3, 1, 1, 2):
            pairs = [(features, other) for other in others[:count]]
            found = list(matcher.match_many(pairs, batch=4))
            assert len(found) == count
            for one, true in zip(found, expected, strict=False):
                assert_same(one, true)
        matcher_graphs = 1  # the encoder's, and none of the matcher's, whose size has just changed
        assert len(machine.cuda.graphs) == matcher_graphs
        assert not matcher.backend.description.endswith("captures")


def test_frames_in_a_batch_may_lie_on_the_gpu(
    machine: Machine, bundle: Bundle, photos: list[Image]
) -> None:
    backend = Matcher.open(bundle, backend="tensorrt").backend
    assert isinstance(backend, TensorRTBackend)
    frames = [bundle.manifest.frames.of(photo) for photo in photos]
    alone = [backend.encode(frame) for frame in frames]
    mixed = backend.encode_many([frames[0], machine.array(frames[1]), frames[2]])
    for features, true in zip(mixed, alone, strict=True):
        found, wanted = (backend.match(tensors, alone[0]) for tensors in (features, true))
        np.testing.assert_array_equal(found["index_a"], wanted["index_a"])
    assert backend.encode_many([]) == [] == backend.match_many([])


def test_a_batch_that_does_not_fit_in_memory_is_an_error_and_leaves_none(
    bundle: Bundle, photos: list[Image], expected: list[Correspondences], tmp_path: Path
) -> None:
    with emulated(tmp_path / "cache") as machine:
        opened = with_engines(bundle, tmp_path / "b", BatchRange(1, 1, 4), machine)
        matcher = Matcher.open(opened, backend="tensorrt")
        pairs = [(photos[0], photo) for photo in photos]
        machine.cuda.fail["cudaMallocHost"] = CODES.cudaErrorMemoryAllocation
        with pytest.raises(EngineError, match="close other programs on the GPU"):
            list(matcher.match_many(pairs, batch=4))
        machine.cuda.fail.clear()
        for found, true in zip(matcher.match_many(pairs, batch=4), expected, strict=True):
            assert_same(found, true)
        matcher.close()
        gc.collect()
        assert not machine.cuda.memory and not machine.cuda.pinned


# Kernels that TensorRT-RTX compiled --------------------------------------------------------------


def kept_kernels(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "cache/dcc/engines/kernels").iterdir()
    return file


def test_kernels_are_compiled_once_and_kept_for_other_processes(
    rtx: Machine, bundle: Bundle, photos: list[Image], expected: list[Correspondences], tmp_path: Path
) -> None:
    notes: list[str] = []
    with Matcher.open(bundle, backend="tensorrt", on_note=notes.append) as matcher:
        assert rtx.tensorrt.compiled == 2  # compared with the graphs
        assert_same(matcher.match(photos[0], photos[1]), expected[1])
        assert kept_kernels(tmp_path).stat().st_mode & 0o022 == 0
    assert "keeps them in" in notes[1] and str(kept_kernels(tmp_path)) in notes[1]
    notes.clear()
    with Matcher.open(bundle, backend="tensorrt", on_note=notes.append) as matcher:
        assert_same(matcher.match(photos[0], photos[1]), expected[1])
    assert rtx.tensorrt.compiled == 2 and not notes


@pytest.mark.parametrize("damage", ["truncated", "empty", "of another driver"])
def test_damaged_kernels_are_dropped_with_a_word(
    damage: str, rtx: Machine, bundle: Bundle, photos: list[Image], tmp_path: Path
) -> None:
    with Matcher.open(bundle, backend="tensorrt") as matcher:
        matcher.match(photos[0], photos[1])
    file = kept_kernels(tmp_path)
    whole = file.read_bytes()
    kernels = b"Another GPU\nkernel"
    foreign = hashlib.sha256(kernels).digest() + kernels
    file.write_bytes({"truncated": whole[:-3], "empty": b""}.get(damage, foreign))
    notes: list[str] = []
    with Matcher.open(bundle, backend="tensorrt", on_note=notes.append) as matcher:
        assert not file.exists()
        matcher.match(photos[0], photos[1])
    reason = "of another GPU, driver or version" if damage.startswith("of") else "damaged"
    (note,) = notes
    assert reason in note and "was dropped: kernels are compiled again" in note
    assert file.read_bytes() == whole


def test_kernels_are_kept_without_closing(
    rtx: Machine, bundle: Bundle, photos: list[Image], tmp_path: Path
) -> None:
    matcher = Matcher.open(bundle, backend="tensorrt")
    assert not (tmp_path / "cache/dcc/engines/kernels").exists()
    matcher.encode(photos[0])
    assert kept_kernels(tmp_path).is_file()


def test_a_library_without_a_cache_of_kernels_says_so(rtx: Machine, bundle: Bundle, tmp_path: Path) -> None:
    rtx.tensorrt.fail = {"set_runtime_cache"}
    notes: list[str] = []
    Matcher.open(bundle, backend="tensorrt", on_note=notes.append).close()
    assert "every process compiles them again" in notes[1]
    assert not (tmp_path / "cache/dcc/engines/kernels").exists()


def test_tensorrt_keeps_no_kernels(bundle: Bundle, tmp_path: Path) -> None:
    with emulated(tmp_path / "cache"):
        Matcher.open(bundle, backend="tensorrt").close()
        assert not (tmp_path / "cache/dcc/engines/kernels").exists()


# TensorRT 10 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", TENSORRT_10)
def test_tensorrt_10_builds_compares_and_matches(
    version: str, bundles: Bundles, photos: list[Image], expected: list[Correspondences], tmp_path: Path
) -> None:
    """With members and signatures of its own listing, and engines in half precision that are half."""
    with emulated(tmp_path / "cache", version=version) as machine:
        for dtype in ("float32", "float16"):
            bundle = bundles(dtype, "spectral")
            for engine in build_engines(bundle, load_library(TENSORRT), BuildSettings(timing_cache=None)):
                assert engine.record.precision == dtype and engine.record.version == version
        with Matcher.open(bundles("float32", "stack")) as matcher:
            assert matcher.backend.description.startswith(f"TensorRT {version} on cuda:0")
            frame = machine.array(matcher.manifest.frames.of(photos[1]))
            for _ in range(3):
                assert_same(matcher.match(photos[0], photos[1]), expected[1])
                matcher.encode(frame)
        settings = BuildSettings(
            workspace=1 << 20,
            optimization_level=3,
            timing_cache=tmp_path / "t.cache",
            hardware_compatibility="ampere+",
        )
        build_engines(bundle, load_library(TENSORRT), settings)


def test_tensorrt_10_would_choose_types_itself(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the flag that it alone needs, the engine of a half-precision graph is in float32."""
    with emulated(tmp_path / "cache", version=TENSORRT_10[0]):
        library = load_library(TENSORRT)
        assert library.network_flags == 2
        monkeypatch.setattr(Library, "network_flags", 0)
        with pytest.raises(NotVerifiedError, match=r"is float16 and the engine .* computes in float32"):
            build_engines(bundles("float16", "spectral"), library, BuildSettings())


def test_other_libraries_need_no_flag(tmp_path: Path) -> None:
    for name in (TENSORRT, RTX):
        with emulated(tmp_path, name):
            assert load_library(name).network_flags == 0


def test_tensorrt_8_is_too_old(tmp_path: Path) -> None:
    with emulated(tmp_path) as machine:
        machine.tensorrt.module.__version__ = "8.6.2"
        with pytest.raises(EngineError, match=r"TensorRT 8\.6\.2 is too old: dcc needs 10\.3"):
            load_library(TENSORRT)


def test_same_capability_needs_a_later_tensorrt(bundle: Bundle, tmp_path: Path) -> None:
    settings = BuildSettings(hardware_compatibility="same-capability")
    for version, supported in zip(TENSORRT_10, (False, True), strict=True):
        with emulated(tmp_path, version=version):
            library = load_library(TENSORRT)
            if supported:
                settings.check(library)
                continue
            with pytest.raises(UsageError, match=r"TensorRT 10\.3\.0\.26 does not build .* use .*ampere\+"):
                settings.check(library)


def test_engines_of_tensorrt_10_are_built_again_by_tensorrt_11(bundle: Bundle, tmp_path: Path) -> None:
    with emulated(tmp_path / "cache", version=TENSORRT_10[1]) as machine:
        opened = with_engines(bundle, tmp_path / "b", BatchRange(), machine)
    with emulated(tmp_path / "cache"):
        notes: list[str] = []
        matcher = Matcher.open(opened, on_note=notes.append)
        assert "was built by TensorRT 10.16.1.11 and 11.4.0.106 is installed" in notes[0]
        assert (
            "building engines with TensorRT 11" in notes[1] and "TensorRT 11" in matcher.backend.description
        )


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("another card", r"built on Another \(sm86\) and this GPU is Emulated GPU \(sm86\): run dcc build"),
        ("truncated", r"has \d+ bytes of \d+: copy it again, or build it again"),
        ("TensorRT 10", r"built by TensorRT 10\.3\.0\.26 and 11\.4\.0\.106 is installed: run dcc build"),
    ],
)
def test_engines_that_do_not_fit_are_named_in_one_sentence(
    case: str, sentence: str, bundle: Bundle, photos: list[Image], tmp_path: Path
) -> None:
    with emulated(tmp_path / "cache", version=TENSORRT_10[0] if case == "TensorRT 10" else None) as machine:
        if case == "another card":
            machine.cuda.gpus = (Properties(name=b"Another"),)
        opened = with_engines(bundle, tmp_path / "b", BatchRange(), machine)
    if case == "truncated":
        plan = opened.path / "matcher.tensorrt.engine"
        plan.write_bytes(plan.read_bytes()[:-9])
    with emulated(tmp_path / "cache"):
        notes: list[str] = []
        with Matcher.open(opened, on_note=notes.append) as matcher:
            matcher.match(photos[0], photos[1])
        assert re.search(sentence, notes[0]) and "\n" not in notes[0]
        assert "building engines" in notes[1] and len(notes) == 2  # and nothing falls back to the CPU


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (
            "no memory",
            "cudaMalloc failed: cudaErrorMemoryAllocation: close other programs on the GPU",
        ),
        ("no memory for the library", "has no memory on the GPU to run"),
        (
            "driver too old",
            "older than this cuda-python: install or update the driver (CUDA 13 needs",
        ),
        ("no second card", "there is no cuda:1: this machine has only cuda:0"),
    ],
)
def test_machines_that_do_not_fit_are_named_in_one_sentence(
    case: str, sentence: str, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    with emulated(tmp_path / "cache") as machine:
        Matcher.open(bundle, backend="tensorrt").close()  # builds
        if case == "no memory":
            machine.cuda.fail["cudaMalloc"] = CODES.cudaErrorMemoryAllocation
        elif case == "driver too old":
            machine.cuda.start = CODES.cudaErrorInsufficientDriver
        elif case == "no memory for the library":
            machine.tensorrt.fail = {"create_execution_context"}
        device = "cuda:1" if case == "no second card" else "cuda:0"
        arguments = [bundle.path, *pictures[:2], "--device", device, "--backend", "tensorrt"]
        result = CliRunner().invoke(match_command, list(map(str, arguments)), standalone_mode=False)
    assert isinstance(result.exception, EngineError) and result.exception.exit_code == 1
    assert sentence in str(result.exception) and "\n" not in str(result.exception)
    assert not machine.cuda.memory


def test_a_trusted_engine_without_a_record_that_does_not_load_is_one_sentence(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Nothing says what it was built for: the library's own reason is passed on."""
    cases = {"version": "10.16.1.11", "gpu": "Another GPU"}
    for key, value in cases.items():
        with emulated(tmp_path / f"cache-{key}") as machine:
            opened = with_engines(bundle, tmp_path / key, BatchRange(), machine)
            for record in opened.manifest.engines:
                plan = opened.path / record.file
                plan.write_bytes(plan.read_bytes().replace(*_changed(plan.read_bytes(), key, value)))
                plan.with_name(plan.name + ".json").unlink()
            (opened.path / "manifest.json").write_text(
                (bundle.path / "manifest.json").read_text(encoding="utf-8"), encoding="utf-8"
            )
            notes: list[str] = []
            again = Bundle.open(opened.path)
            Matcher.open(again, backend="tensorrt", trust_engine=True, on_note=notes.append)
            assert "cannot load" in notes[0] and "build it again with dcc build" in notes[0]
            assert "\n" not in notes[0] and "building engines" in notes[1]


def _changed(plan: bytes, key: str, value: str) -> tuple[bytes, bytes]:
    start = plan.index(f'"{key}": "'.encode())
    end = plan.index(b'"', start + len(key) + 5)
    return plan[start : end + 1], f'"{key}": "{value}"'.encode()


# Features in other libraries -----------------------------------------------------------------------


def test_memory_is_exported_by_dlpack_and_released() -> None:
    """PyTorch reads it on the CPU; on a GPU, only the number of the device differs."""
    values = np.arange(24, dtype=np.float16).reshape(1, 2, 3, 4)

    class Owner:
        pass

    for used in (True, False):
        owner = Owner()
        collected = []
        weakref.finalize(owner, collected.append, True)
        capsule = export_capsule(values.ctypes.data, values.shape, values.dtype, (CPU, 0), owner)
        del owner
        if used:
            tensor = torch.utils.dlpack.from_dlpack(capsule)
            del capsule
            gc.collect()
            assert not collected
            np.testing.assert_array_equal(tensor.numpy(), values)
            tensor[0, 0, 0, 0] = 5
            assert values[0, 0, 0, 0] == 5  # no copy
            del tensor
        else:
            del capsule
        gc.collect()
        assert collected


def test_features_are_exported_by_dlpack(bundle: Bundle, photos: list[Image], tmp_path: Path) -> None:
    with emulated(tmp_path / "cache") as machine:
        machine.cuda.gpus = (Properties(), Properties(name=b"Second"))
        with Matcher.open(bundle, device="cuda:1") as matcher:
            features = matcher.encode(photos[0]).tensors["local"]
            assert features.__dlpack_device__() == (CUDA, 1)
            for request in ({"copy": True}, {"dl_device": (CPU, 0)}):
                with pytest.raises(BufferError, match="not copied here"):
                    features.__dlpack__(**request)
            capsule = features.__dlpack__(stream=1, max_version=(1, 0))
            pointer = features.pointer
            del features
            gc.collect()
            assert pointer in machine.cuda.memory and pointer not in matcher.backend._pool._unused
            del capsule
