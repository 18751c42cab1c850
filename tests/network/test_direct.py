"""``direct`` without a GPU: interpreted on a CPU, compiled for two GPUs, and how it chooses tiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dccnet.inference import TorchMatcher
from dccnet.network.conv4d import STACK, TRAINING_LOWERINGS, Layers, direct
from dccnet.network.conv4d.direct_layout import Core, Layout
from dccnet.network.conv4d.direct_tuning import (
    HALVES,
    MOST_COLUMNS,
    SINGLES,
    SMALLEST_SHARED,
    Config,
    fitting,
    tuning_for,
)
from dccnet.network.model import DCCNet
from tests.helpers.paths import ROOT

H200 = 227 * 1024
KERNELS = [(16, 1, 5, 5, 5, 5), (16, 16, 5, 5, 5, 5), (1, 16, 5, 5, 5, 5)]
"""The paper's."""
needs_triton = pytest.mark.skipif(
    not direct.find_spec("triton"), reason="needs triton, which PyTorch's CUDA wheel for Linux brings"
)


# What it computes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interpreted() -> Any:
    command = [sys.executable, "tests/network/interpreted_direct.py"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_triton
def test_values_and_gradients_are_those_of_float64(interpreted: Any) -> None:
    """Kernels of unequal sides, odd grids, batches, ReLUs, kept and recomputed layers; memory holds NaN."""
    assert len(interpreted["errors"]) == 7
    for name, errors in interpreted["errors"].items():
        assert max(errors) < 1e-6, name  # NaN is not less


@needs_triton
def test_every_kind_of_layer_is_interpreted(interpreted: Any) -> None:
    kinds = set(map(tuple, interpreted["kinds"].values()))
    assert kinds == {("spread", "plain", "folded"), ("spread", "folded"), ("spread",), ("plain", "plain")}


@needs_triton
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_papers_layers_compile_and_use_no_more_memory_than_expected(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kernels of the middle layer, forward and backward, for an H100 or H200 and an RTX 30."""
    import triton
    from triton.backends.compiler import GPUTarget

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launches = recorded_launches(dtype, monkeypatch)
    assert [name for name, *_ in launches].count("_correlate") == len(KERNELS)
    tensor_products = [launch for launch in launches if launch[0] in ("_convolve", "_correlate")]
    middle = [launch for launch in tensor_products if launch[1]["TAPS"][2] > 1]
    assert len(middle) == 3
    for _, arguments, source, options in middle[:2] if dtype == torch.float32 else middle:
        for capability in (90, 86):
            compiled = triton.compile(source(), target=GPUTarget("cuda", capability, 32), options=options)
            tile = arguments.get("ROWS") or arguments["COLUMNS"]
            config = Config(
                arguments["BLOCK"], tile, arguments["DEEP"], options["num_warps"], options["num_stages"]
            )
            expected = config.shared_bytes(arguments["COUT"], dtype.itemsize)
            assert 0 < compiled.metadata.shared <= expected <= SMALLEST_SHARED


Launch = tuple[str, dict[str, Any], Callable[[], Any], dict[str, int]]


def recorded_launches(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """What a step would launch: kernels' names, arguments, sources and options. Nothing is computed."""
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    types = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}
    launches: list[Launch] = []

    def record(kernel: Any, *values: Any, grid: object, warmup: bool, **options: int) -> None:
        arguments = {p.name: value for p, value in zip(kernel.params, values, strict=True)}
        constants = {p.name: arguments[p.name] for p in kernel.params if p.is_constexpr}
        pointers = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
        signature = {
            name: "constexpr" if name in constants else types[v.dtype] if isinstance(v, Tensor) else "i32"
            for name, v in arguments.items()
        }
        aligned = {(i,): [["tt.divisibility", 16]] for i in pointers}
        launches.append(
            (kernel.__name__, arguments, lambda: ASTSource(kernel, signature, constants, aligned), options)
        )

    monkeypatch.setattr(JITFunction, "run", record)
    layers = [(torch.rand(k, requires_grad=True), torch.rand(k[0], requires_grad=True)) for k in KERNELS]
    volume = torch.rand(1, 1, 3, 3, 3, 3, dtype=dtype, requires_grad=True)
    direct.chain_of_one(volume, layers).sum().backward()
    return launches


# What it does not compute ------------------------------------------------------------------------


def test_volumes_on_a_cpu_are_computed_as_stack_does() -> None:
    layers: Layers = [(torch.randn(2, 1, 3, 3, 3, 3), torch.randn(2))]
    volumes = [torch.rand(1, 1, 3, 4, 2, 3), torch.rand(2, 1, 2, 2, 2, 2)]
    found = TRAINING_LOWERINGS["direct"].chain(volumes, layers, None)
    for y, true in zip(found, STACK.chain(volumes, layers), strict=True):
        assert torch.equal(y, true)


@needs_triton
def test_which_types_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [(torch.empty(k, device="meta"), torch.empty(k[0], device="meta")) for k in KERNELS]

    class Volume:
        device, shape = torch.device("cuda"), (1, 1, 25, 25, 25, 25)

        def __init__(self, dtype: torch.dtype) -> None:
            self.dtype = dtype

    def computes(dtype: torch.dtype) -> bool:
        return direct._computes(Volume(dtype), layers)  # type: ignore[arg-type]

    monkeypatch.setattr(direct, "_shared_bytes", lambda device: H200)
    halves, single, double = (torch.float16, torch.bfloat16), torch.float32, torch.float64
    for allowed in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        assert [computes(dtype) for dtype in (*halves, single, double)] == [True, True, allowed, False]
    Volume.shape = (1, 1, 200, 200, 200, 200)  # more numbers than offsets of 32 bits reach
    assert not computes(torch.float16)
    Volume.shape = (1, 1, 25, 25, 25, 25)
    layers[1] = (torch.empty(512, 16, 5, 5, 5, 5, device="meta"), torch.empty(512, device="meta"))
    assert not computes(torch.float16)


def test_volumes_of_one_grid_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []

    def chain_of_one(volume: Tensor, layers: Layers) -> Tensor:
        calls.append(tuple(volume.shape))
        return 2 * volume

    monkeypatch.setattr(direct, "_computes", lambda volume, layers: True)
    monkeypatch.setattr(direct, "chain_of_one", chain_of_one)
    layers: Layers = [(torch.randn(1, 1, 1, 1, 1, 1, requires_grad=True), torch.randn(1))]
    many, few, other = (torch.rand(b, 1, 2, 2, 2, n) for b, n in ((7, 2), (1, 2), (1, 3)))
    for volumes, recompute, expected in (
        ([many, few], False, [8]),
        ([many, few, few], False, [7, 1, 1]),
        ([few, other], False, [1, 1]),
        ([many, few], True, [1] * 8),
    ):
        calls.clear()
        found = direct.Direct().chain(volumes, layers, recompute)
        assert [shape[0] for shape in calls] == expected
        for y, volume in zip(found, volumes, strict=True):
            torch.testing.assert_close(y, 2 * volume)


def test_a_matcher_in_pytorch_uses_it_where_it_is_available(
    small_model: DCCNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not direct.is_available(torch.device("cpu"))
    kept = small_model.consensus.lowering
    try:
        for available in (False, True):
            monkeypatch.setattr("dccnet.inference.is_available", lambda device, found=available: found)
            lowering = TorchMatcher(small_model).model.consensus.lowering
            assert (lowering is TRAINING_LOWERINGS["direct"]) == available
    finally:
        small_model.lower(kept)


# How it cuts products into tiles -----------------------------------------------------------------


def test_the_measured_configurations_fit_on_every_gpu_for_the_papers_layers() -> None:
    for number, kernel in enumerate(KERNELS):
        core = Core.of(kernel, number == 0, number == 2)
        for itemsize, measured in ((2, HALVES[core.kind]), (4, SINGLES)):
            for shared in (SMALLEST_SHARED, H200):
                sizes = core.channels_in, core.channels_out, itemsize, shared
                assert tuning_for(core.kind, *sizes) == measured


def test_wider_layers_get_smaller_blocks_and_then_fewer_stages() -> None:
    config = Config((2, 2, 2), warps=8)
    assert fitting(config, 16, 2, H200) == config
    assert fitting(config, 32, 2, H200) == config
    assert fitting(config, 64, 2, H200) == config._replace(block=(2, 2, 1))
    assert fitting(config, 32, 2, SMALLEST_SHARED) == config._replace(block=(2, 2, 1))
    assert fitting(config, 256, 2, SMALLEST_SHARED) == config._replace(block=(1, 1, 1), stages=2)
    assert fitting(config, 512, 2, H200) is None
    assert tuning_for("plain", 16, 512, 2, H200) is None


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("shared", [64 * 1024, SMALLEST_SHARED, 163 * 1024, H200])
@pytest.mark.parametrize("channels", [16, 32, 64, 128, 256])
def test_a_choice_fits(channels: int, shared: int, itemsize: int) -> None:
    for kind in HALVES:
        for config in tuning_for(kind, channels, channels, itemsize, shared) or ():
            assert config.shared_bytes(channels, itemsize) <= shared
            assert config.columns(channels) <= MOST_COLUMNS


def test_a_layout_has_zeros_wherever_a_kernel_reaches_from_whole_blocks() -> None:
    layout = Layout.of(2, (3, 4, 5, 6), (5, 3, 1, 3), (2, 2, 2), 16)
    assert layout.padded == (4 + 4, 4 + 2, 6, 6 + 2)
    assert layout.has_room_for((5, 3, 1, 3), (2, 2, 2)) and layout.has_room_for((3, 3, 1, 1), (1, 1, 1))
    assert not layout.has_room_for((5, 5, 1, 3), (2, 2, 2))
    cells = torch.arange(2 * layout.volume).view(2, *layout.padded, 16)
    assert layout.offset() == cells[0, 2, 1, 0, 1, 0]
    assert layout.offset((-2, 1, 0, -1)) == cells[0, 0, 2, 0, 0, 0]
