from __future__ import annotations

import copy
import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.conv4d import LOWERINGS, TRAINING_LOWERINGS, Conv4d, conv4d
from dccnet.network.conv4d.fourier import axis_transform
from dccnet.network.conv4d.planes import AxisProducts, Planes


def definition(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """The sum of the definition, tap by tap, with nothing clever in it."""
    sides = w.shape[2:]
    pads = [p for k in reversed(sides) for p in (k // 2, k // 2)]
    padded = F.pad(x, pads)
    y = torch.zeros(x.shape[0], w.shape[0], *x.shape[2:], dtype=x.dtype)
    for tap in itertools.product(*map(range, sides)):
        window = padded
        for axis, start in enumerate(tap):
            window = window.narrow(2 + axis, start, x.shape[2 + axis])
        y += torch.einsum("bi...,oi->bo...", window, w[(slice(None), slice(None), *tap)])
    return y if b is None else y + b.view(-1, 1, 1, 1, 1)


sizes = st.tuples(*[st.integers(1, 6)] * 4)
kernels = st.tuples(*[st.sampled_from([1, 3, 5, 7])] * 4)
LOOPS = ["paired", "complex"]
"""Lowerings in loops of our own."""


def values_and_gradients(consensus: NeighbourhoodConsensus, lowering: str, c: Tensor) -> list[Tensor]:
    """Of a volume after all layers; gradients of the volume and of the layers' weights."""
    consensus.lowering = TRAINING_LOWERINGS[lowering]
    (y,) = consensus([c])
    return [y, *torch.autograd.grad(y.square().sum(), [c, *consensus.parameters()])]


@pytest.mark.parametrize("lowering", LOWERINGS)
@given(
    sizes,
    kernels,
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_definition(
    lowering: str,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    batch: int,
    cin: int,
    cout: int,
    bias: bool,
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(sum(size) + 7 * sum(kernel))
    x = torch.randn(batch, cin, *size, generator=generator, dtype=dtype)
    w = torch.randn(cout, cin, *kernel, generator=generator, dtype=dtype)
    b = torch.randn(cout, generator=generator, dtype=dtype) if bias else None
    expected = definition(x.double(), w.double(), None if b is None else b.double())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    scale = (definition(x.double().abs(), w.double().abs(), None)).max() + 1
    assert (conv4d(x, w, b, LOWERINGS[lowering]).double() - expected).abs().max() <= tolerance * scale


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(("cin", "cout"), [(1, 3), (3, 1), (2, 2), (1, 1)])
def test_gradients(cin: int, cout: int, lowering: str) -> None:
    x = torch.randn(2, cin, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(cout, cin, 3, 3, 3, 1, dtype=torch.float64, requires_grad=True)
    b = torch.randn(cout, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(partial(conv4d, lowering=LOWERINGS[lowering]), (x, w, b))


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(("cin", "cout"), [(1, 16), (16, 16), (16, 1)])
def test_a_layer_is_one_convolution_call(
    cin: int, cout: int, lowering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for name in ("conv1d", "conv2d", "conv3d"):
        real = getattr(F, name)
        monkeypatch.setattr(F, name, lambda *a, real=real, **k: calls.append(1) or real(*a, **k))
    conv4d(torch.randn(1, cin, 4, 4, 4, 4), torch.randn(cout, cin, 5, 5, 5, 5), None, LOWERINGS[lowering])
    assert len(calls) == 1


@pytest.mark.parametrize("lowering", TRAINING_LOWERINGS)
@pytest.mark.parametrize("grids", [((3, 4, 3, 4), (3, 4, 3, 4)), ((3, 4, 5, 2), (3, 4, 5, 2))])
def test_consensus_of_several_maps_is_that_of_each(
    lowering: str, grids: tuple[tuple[int, ...], ...]
) -> None:
    """Sharing transformed kernels and batches among maps, directions and unequal grids changes nothing."""
    torch.manual_seed(0)
    consensus = NeighbourhoodConsensus((3, 5), (4, 1)).double()
    maps = [torch.randn(2, 1, *grid, dtype=torch.float64) for grid in grids]

    def plain(c: Tensor) -> Tensor:
        for layer in consensus.layers:
            c = definition(c, layer.weight, layer.bias).relu()
        return c

    expected = [plain(c) + swap(plain(swap(c))) for c in maps]
    consensus.lowering = TRAINING_LOWERINGS[lowering]
    for found, true in zip(consensus(maps), expected, strict=True):
        torch.testing.assert_close(found, true)


@pytest.mark.parametrize("lowering", TRAINING_LOWERINGS)
def test_recomputed_gradients_are_the_kept_ones(lowering: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    consensus = NeighbourhoodConsensus((3, 3), (4, 1)).double()
    consensus.lowering = TRAINING_LOWERINGS[lowering]
    maps = [torch.randn(2, 1, 3, 4, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    wanted = [*maps, *consensus.parameters()]
    gradients = []
    for threshold in (1, 10**9):
        monkeypatch.setattr("dccnet.network.conv4d.lowering.RECOMPUTE_FROM", threshold)
        loss = sum(y.square().sum() for y in consensus(maps))
        gradients.append(torch.autograd.grad(loss, wanted))  # type: ignore[arg-type]
    for recomputed, kept in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, kept)


@pytest.mark.parametrize("lowering", LOOPS)
@given(
    st.tuples(*[st.integers(1, 5)] * 4),
    st.sampled_from([((3,), (1,)), ((3, 5), (4, 1)), ((5, 3, 3), (2, 3, 1)), ((3, 1, 3), (3, 3, 1))]),
)
@settings(max_examples=30, deadline=None)
def test_loops_have_the_values_and_gradients_of_stack(
    lowering: str, grid: tuple[int, ...], sizes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    torch.manual_seed(sum(grid))
    consensus = NeighbourhoodConsensus(*sizes).double()
    c = torch.randn(2, 1, *grid, dtype=torch.float64, requires_grad=True)
    found = [values_and_gradients(consensus, name, c) for name in ("stack", lowering)]
    for one_by_one, at_once in zip(*found, strict=True):
        torch.testing.assert_close(at_once, one_by_one)


@pytest.mark.parametrize("lowering", LOOPS)
def test_loops_compute_no_gradient_of_their_input_unless_needed(lowering: str) -> None:
    torch.manual_seed(0)
    consensus = NeighbourhoodConsensus((3, 3), (4, 1)).double()
    consensus.lowering = TRAINING_LOWERINGS[lowering]
    c = torch.randn(2, 1, 3, 4, 2, 5, dtype=torch.float64)
    gradients = []
    for wanted in (True, False):
        (y,) = consensus([c.clone().requires_grad_(wanted)])
        gradients.append(torch.autograd.grad(y.square().sum(), list(consensus.parameters())))
    for with_it, without in zip(*gradients, strict=True):
        torch.testing.assert_close(without, with_it, rtol=0, atol=0)


@pytest.mark.parametrize("lowering", LOOPS)
@pytest.mark.parametrize("channels", [(4, 1), (2, 6, 1), (6, 2, 1)])
def test_loops_stay_in_float32_in_autocast(channels: tuple[int, ...], lowering: str) -> None:
    torch.manual_seed(0)
    consensus = NeighbourhoodConsensus((3,) * len(channels), channels)
    consensus.lowering = TRAINING_LOWERINGS[lowering]
    c = torch.rand(2, 1, 4, 5, 4, 5, requires_grad=True)
    found = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            (y,) = consensus([c])
            loss = y.square().sum()
        found.append([y, *torch.autograd.grad(loss, [c, *consensus.parameters()])])
    for plain, in_autocast in zip(*found, strict=True):
        assert in_autocast.dtype == torch.float32
        torch.testing.assert_close(in_autocast, plain, rtol=0, atol=0)


def test_loops_are_as_exact_in_float32_as_stack() -> None:
    """Sums and differences round once more, which must not show at the size of ``tiny``."""
    torch.manual_seed(0)
    exact = NeighbourhoodConsensus((3, 3), (8, 1)).double()
    with torch.no_grad():
        for layer in exact.layers:
            layer.bias.add_(3)  # all ReLUs are open, or one that rounding opens would outweigh the rest
    c = torch.rand(2, 1, 16, 16, 16, 16, dtype=torch.float64)
    found = {}
    for name in ("exact", "stack", *LOOPS):
        dtype = torch.float64 if name == "exact" else torch.float32
        consensus = copy.deepcopy(exact).to(dtype)
        consensus.lowering = TRAINING_LOWERINGS.get(name, consensus.lowering)
        x = c.to(dtype).requires_grad_()
        (y,) = consensus([x])
        found[name] = [y, *torch.autograd.grad(y.square().sum(), [x, *consensus.parameters()])]
    for true, *others in zip(*found.values(), strict=True):
        of_stack, *errors = [(each - true).norm() / true.norm() for each in others]
        assert max(errors) < max(2 * of_stack, 1e-6)


@pytest.mark.parametrize(("sides", "channels"), [((3, 3, 3), (30, 30, 1)), ((1, 1), (125, 1))])
def test_complex_works_in_pieces(sides: tuple[int, ...], channels: tuple[int, ...]) -> None:
    """Rows, channels and cells beyond what its loops compute at a time."""
    torch.manual_seed(0)
    consensus = NeighbourhoodConsensus(sides, channels).double()
    c = torch.randn(1, 1, 1, 2, 1, 150, dtype=torch.float64, requires_grad=True)
    found = [values_and_gradients(consensus, name, c) for name in ("stack", "complex")]
    for one_by_one, in_pieces in zip(*found, strict=True):
        torch.testing.assert_close(in_pieces, one_by_one)


@pytest.mark.parametrize("lowering", LOOPS)
def test_loops_do_not_depend_on_the_number_of_threads(lowering: str) -> None:
    torch.manual_seed(0)
    consensus = NeighbourhoodConsensus((3, 3), (4, 1))
    consensus.lowering = TRAINING_LOWERINGS[lowering]
    c = torch.rand(3, 1, 4, 5, 4, 5)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            (y,) = consensus([c])
            found.append([y, *torch.autograd.grad(y.square().sum(), list(consensus.parameters()))])
    finally:
        torch.set_num_threads(threads)
    for alone, together in zip(*found, strict=True):
        torch.testing.assert_close(together, alone, rtol=0, atol=0)


@pytest.mark.parametrize("lowering", LOOPS)
def test_loops_hide_no_nan(lowering: str) -> None:
    """Or a run that has diverged would go on."""
    consensus = NeighbourhoodConsensus((3, 3), (4, 1))
    consensus.lowering = TRAINING_LOWERINGS[lowering]
    c = torch.rand(1, 1, 4, 4, 4, 4)
    c[0, 0, 1, 1, 1, 1] = float("nan")
    assert consensus([c])[0].isnan().any()
    with torch.no_grad():
        consensus.layers[0].weight[2, 0, 1, 1, 1, 1] = float("nan")
    assert consensus([torch.rand(1, 1, 4, 4, 4, 4)])[0].isnan().any()


@given(
    st.tuples(*[st.integers(1, 5)] * 4), st.lists(st.tuples(*[st.sampled_from([1, 3, 5])] * 4), min_size=1)
)
@settings(deadline=None)
def test_laid_out_cells_come_back_and_have_their_neighbours_at_a_distance(
    grid: tuple[int, ...], kernels: list[tuple[int, ...]]
) -> None:
    planes = Planes.of(grid, kernels)
    x = torch.arange(1.0, 1 + 2 * 3 * math.prod(grid)).view(2, 3, *grid)
    laid = planes.lay(x)
    assert torch.equal(planes.cells(laid), x)
    places = planes.cells(torch.arange(laid[0].numel()).view(1, *laid[0].shape))[0]
    kernel = kernels[0]
    offsets = itertools.product(*(range(-(k // 2), k // 2 + 1) for k in kernel[2:]))
    for (t3, t4), distance in zip(offsets, planes.distances(kernel), strict=True):
        neighbours = laid[0].flatten()[places + int(distance)]
        padded = F.pad(x[0], [kernel[3] // 2] * 2 + [kernel[2] // 2] * 2)
        rows = padded.narrow(-2, kernel[2] // 2 + t3, grid[2])
        assert torch.equal(neighbours, rows.narrow(-1, kernel[3] // 2 + t4, grid[3]))


@pytest.mark.parametrize("taps", [1, 3, 5, 7])
def test_products_along_an_axis_add_up_to_the_convolution(taps: int) -> None:
    axis = AxisProducts.of(taps, np.dtype(np.float64))
    x, kernel = np.random.default_rng(taps).standard_normal((2, taps + 1))
    products = (axis.narrow_side @ x) * (axis.taps @ kernel[:taps])
    shares = np.array([[1, 0, 1, 1], [0, 1, 1, -1]])[:, axis.sides]
    np.testing.assert_allclose(shares @ products, np.correlate(x, kernel[:taps]), atol=1e-12)


def swap(c: Tensor) -> Tensor:
    return c.permute(0, 1, 4, 5, 2, 3)


def test_the_kernel_is_the_only_weight_and_starts_like_torch() -> None:
    layer = Conv4d(4, 8, 3)
    assert {n: tuple(p.shape) for n, p in layer.named_parameters()} == {
        "weight": (8, 4, 3, 3, 3, 3),
        "bias": (8,),
    }
    bound = (4 * 3**4) ** -0.5
    assert 0.9 * bound < layer.weight.abs().max() <= bound


@pytest.mark.parametrize("kernel", [2, 0, (3, 3, 3), (3, 3, 3, 4)])
def test_even_and_malformed_kernels_are_refused(kernel: object) -> None:
    with pytest.raises(ValueError, match="four odd sides"):
        Conv4d(1, 1, kernel)  # type: ignore[arg-type]


def test_transforms_stay_on_a_device_that_is_not_the_cpu() -> None:
    """Copies from the host would block a GPU in every layer; ``meta`` stands in for one."""
    matrix = axis_transform(5, 3, first=True).to_frequencies
    there = matrix.like(torch.empty(1, device="meta"))
    assert matrix.like(torch.empty(1, device="meta")) is there
    assert matrix.like(torch.empty(1, device="meta", dtype=torch.float16)).dtype == torch.float16
    here = matrix.like(torch.empty(1, dtype=torch.float64))
    assert here.device.type == "cpu" and here.shape == matrix.shape == there.shape
