"""Frames in floating point and in bytes, in PyTorch, ONNX Runtime and on the emulated GPU.

The reference is the preprocessing of the authors' code, written out in PyTorch: affine_grid and grid_sample
in float32, no rounding, then [0, 1].
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dccnet.export.graphs import EncoderGraph
from dccnet.inference import TorchMatcher, match_features
from dccnet.network.config import PRESETS
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import MANIFEST, Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import BundleError, ImageError
from dccnet.runtime.frames import FLOAT32, UINT8, FrameFormat
from dccnet.runtime.geometry import Size, resize_as_pytorch, resize_uint8
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import open_bundle
from dccnet.runtime.tensorrt.builder import BuildSettings
from dccnet.runtime.tensorrt.bundled import build_engines, write_engines
from dccnet.runtime.tensorrt.library import load_library
from dccnet.runtime.tensorrt.plan import sidecar_path
from tests.helpers.byte_frames import with_byte_frames
from tests.helpers.commands import Cli
from tests.helpers.emulation import emulated

sides = st.integers(1, 90)


def authors_frame(image: Image, size: Size) -> Tensor:
    """A picture ``(H0, W0, 3)`` uint8 BGR -> ``(1, 3, H, W)`` RGB in [0, 1]."""
    rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None].float()
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 3, *size], align_corners=True)
    return F.grid_sample(rgb, grid, mode="bilinear", padding_mode="zeros", align_corners=True) / 255


def noise(size: Size, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture(scope="module")
def byte_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return with_byte_frames(bundle, tmp_path_factory.mktemp("bytes") / "bundle")


@pytest.fixture(scope="module")
def sized(photos: list[Image]) -> list[Image]:
    """Pictures of other sizes than the network's, smaller and larger, and one of its own size."""
    return [photos[0], photos[1][:70, :90], photos[2][5:200:2, 3:301], photos[0][:96, :80]]


# Resizing ---------------------------------------------------------------------------------------


@given(sides, sides, st.integers(2, 70), st.integers(2, 70), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_float_frames_are_those_of_pytorch(h: int, w: int, th: int, tw: int, seed: int) -> None:
    image = noise((h, w), seed)
    expected = 255 * authors_frame(image, (th, tw))[0].permute(1, 2, 0).numpy()[..., ::-1]
    assert np.abs(resize_as_pytorch(image, (th, tw)) - expected).max() < 2e-4


@pytest.mark.parametrize("size", [(3000, 7), (7, 4001), (720, 1280)])
def test_positions_in_large_pictures_are_those_of_pytorch(size: Size) -> None:
    image = noise(size)
    expected = 255 * authors_frame(image, (400, 400))[0].permute(1, 2, 0).numpy()[..., ::-1]
    assert np.abs(resize_as_pytorch(image, (400, 400)) - expected).max() < 2e-4


def test_bytes_are_the_same_rounded_and_a_picture_of_the_size_is_its_own_frame() -> None:
    size = (40, 30)
    exact, bytes_ = FrameFormat(size, FLOAT32), FrameFormat(size, UINT8)
    image = noise((33, 57))
    assert exact.of(image).dtype == np.float32 and bytes_.of(image).dtype == np.uint8
    assert 0.4 < np.abs(exact.of(image) - bytes_.of(image)).max() < 0.51
    assert exact.of(image).min() >= 0 and exact.of(image).max() <= 255
    own = noise(size)
    assert bytes_.of(own) is own
    np.testing.assert_allclose(exact.of(own), own, atol=0.01)
    np.testing.assert_array_equal(bytes_.of(image), resize_uint8(image, size))


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="frames are uint8 or float32, not float16"):
        FrameFormat((32, 32), "float16")


# Which network takes what -----------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_the_papers_networks_take_floats_and_the_small_ones_bytes(preset: str) -> None:
    assert PRESETS[preset].frame_dtype == (UINT8 if preset in ("tiny", "small", "medium") else FLOAT32)


def test_the_encoder_is_traced_with_the_networks_frames(small_model: DCCNet) -> None:
    assert EncoderGraph(small_model).example()["frame"].dtype == torch.float32
    tiny = DCCNet(PRESETS["tiny"])
    assert EncoderGraph(tiny).example()["frame"].dtype == torch.uint8


def test_the_manifest_says_what_the_encoder_takes(bundle: Bundle, byte_bundle: Bundle) -> None:
    assert bundle.manifest.frames == FrameFormat(bundle.manifest.image_size, FLOAT32)
    assert bundle.manifest.frame == "float32, (batch, height, width, 3), BGR, 0 to 255, not rounded"
    assert byte_bundle.manifest.frames.dtype == UINT8 == open_bundle().manifest.frames.dtype
    assert bundle.manifest.schema == 4 and byte_bundle.manifest.schema == 3


def test_a_later_type_of_frames_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    import json

    from dccnet.runtime.manifest import manifest_digest

    shutil.copytree(bundle.path, tmp_path / "later")
    path = tmp_path / "later" / MANIFEST
    values = json.loads(path.read_text())
    values["graphs"]["encoder"]["inputs"][0]["dtype"] = "float16"
    path.write_text(json.dumps(values | {"digest": manifest_digest(values)}))
    with pytest.raises(BundleError, match="frames are uint8 or float32, not float16"):
        Bundle.open(tmp_path / "later")


# Matches ----------------------------------------------------------------------------------------


def reference(model: DCCNet, a: Image, b: Image) -> Correspondences:
    """The network on the authors' frames."""
    size = model.config.image_size
    with torch.no_grad():
        features = [model.encode(authors_frame(image, size)) for image in (a, b)]
    sizes = [(image.shape[0], image.shape[1]) for image in (a, b)]
    return match_features(model, *features, *sizes, heatmaps=True)


def same_cells(found: Correspondences, true: Correspondences) -> float:
    pairs = ((found.index_a, true.index_a), (found.index_b, true.index_b))
    return float(np.mean([(index == other).mean() for index, other in pairs]))


def test_every_best_match_is_that_of_the_authors_frames(
    small_model: DCCNet, bundle: Bundle, byte_bundle: Bundle, sized: list[Image]
) -> None:
    exported, in_torch = Matcher.open(bundle, device="cpu"), TorchMatcher(small_model)
    rounded = Matcher.open(byte_bundle, device="cpu")
    moved = []
    for a, b in itertools.pairwise(sized):
        true = reference(small_model, a, b)
        assert same_cells(in_torch.match(a, b), true) == 1
        assert same_cells(exported.match(a, b), true) == 1
        np.testing.assert_allclose(exported.match(a, b).score_a, true.score_a, atol=1e-5)
        moved.append(np.abs(rounded.match(a, b).score_a - true.score_a).max())
    assert max(moved) > 1e-5, "rounding the frames changes scores"


def test_many_pairs_and_streams_use_the_same_frames(bundle: Bundle, sized: list[Image]) -> None:
    matcher = Matcher.open(bundle, device="cpu")
    alone = matcher.match(*sized[:2])
    (batched,) = matcher.match_many([(sized[0], sized[1])], batch=2)
    with matcher.stream(sized[1:2], sized[0], live=False) as stream:
        (streamed,) = [frame.correspondences for frame in stream]
    for found in (batched, streamed):
        np.testing.assert_allclose(found.score_a, alone.score_a, atol=1e-6)
        np.testing.assert_array_equal(found.index_a, alone.index_a)


def test_an_older_bundle_gets_bytes(small_model: DCCNet, byte_bundle: Bundle, sized: list[Image]) -> None:
    size = small_model.config.image_size
    a, b = (resize_uint8(image, size) for image in sized[:2])
    true = reference(small_model, a, b)  # a picture of the network's size is not resized
    found = Matcher.open(byte_bundle, device="cpu").match(*sized[:2])
    np.testing.assert_allclose(found.score_a, true.score_a, atol=1e-5)


# Engines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [FLOAT32, UINT8])
@pytest.mark.parametrize("library", ["tensorrt", "tensorrt_rtx"])
def test_engines_take_the_frames_of_their_graph(
    dtype: str, library: str, bundle: Bundle, byte_bundle: Bundle, sized: list[Image], tmp_path: Path
) -> None:
    used = bundle if dtype == FLOAT32 else byte_bundle
    true = Matcher.open(used, device="cpu").match(*sized[:2])
    with (
        emulated(tmp_path / "cache", library) as machine,
        Matcher.open(used, backend="tensorrt") as matcher,
    ):
        kinds = machine.cuda.module.cudaMemcpyKind
        before = machine.cuda.copied[kinds.cudaMemcpyHostToDevice]
        reference_features = matcher.encode(sized[0])
        copied = machine.cuda.copied[kinds.cudaMemcpyHostToDevice] - before
        assert copied == np.prod([*used.manifest.image_size, 3]) * np.dtype(dtype).itemsize
        np.testing.assert_array_equal(matcher.match(reference_features, sized[1]).index_a, true.index_a)
        on_gpu = machine.array(used.manifest.frames.of(sized[1]))
        features = matcher.encode(on_gpu, size=sized[1].shape[:2])
        np.testing.assert_array_equal(matcher.match(reference_features, features).score_a, true.score_a)
        other = FrameFormat(used.manifest.image_size, UINT8 if dtype == FLOAT32 else FLOAT32)
        with pytest.raises(ImageError, match=f"{dtype} BGR from 0 to 255, .* {other.dtype}"):
            matcher.encode(machine.array(other.of(sized[1])))


def test_a_trusted_engine_for_other_frames_is_not_used(
    bundle: Bundle, byte_bundle: Bundle, sized: list[Image], tmp_path: Path
) -> None:
    notes: list[str] = []
    mixed = tmp_path / "mixed"
    shutil.copytree(bundle.path, mixed)
    with emulated(tmp_path / "cache"):
        library = load_library("tensorrt")
        for plan in write_engines(build_engines(byte_bundle, library, BuildSettings()), mixed):
            sidecar_path(plan).unlink()
        with Matcher.open(mixed, backend="tensorrt", trust_engine=True, on_note=notes.append) as matcher:
            found = matcher.match(*sized[:2])
    assert "passed over" in notes[0] and "uint8, and its graph (1, 96, 80, 3) float32" in notes[0]
    true = Matcher.open(bundle, device="cpu").match(*sized[:2])
    np.testing.assert_array_equal(found.index_a, true.index_a)


# Commands ---------------------------------------------------------------------------------------


def test_info_shows_the_frames(dcc: Cli, bundle: Bundle, byte_bundle: Bundle) -> None:
    for one, shown in ((bundle, "float32"), (byte_bundle, "uint8")):
        done = dcc("info", one.path, "--json")
        assert done.returncode == 0 and f"96x80 (height x width), {shown}" in done.stdout
