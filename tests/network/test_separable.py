"""The lowering for kernels that are sums of few products."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dccnet.network.config import PRESETS
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.conv4d import EXPORT_LOWERINGS, STACK, NotSeparableError
from dccnet.network.conv4d.separable import MOST_PRODUCTS, Separable, factors, swapped_kernel
from dccnet.network.model import DCCNet
from dccnet.training.starts import count_votes, start_plain, vote_kernel

SEPARABLE = EXPORT_LOWERINGS["separable"]


def sum_of_products(products: int, cout: int, cin: int, sides: tuple[int, ...]) -> Tensor:
    rows = torch.randn(products, cin, sides[0], sides[2], dtype=torch.float64)
    columns = torch.randn(cout, products, sides[1], sides[3], dtype=torch.float64)
    return torch.einsum("fiac,ofbd->oiabcd", rows, columns)


def votes(kernels: tuple[int, ...] = (5, 1), channels: tuple[int, ...] = (2, 1)) -> NeighbourhoodConsensus:
    consensus = NeighbourhoodConsensus(kernels, channels)
    count_votes(consensus, both_ways=True)
    return consensus


@given(
    st.tuples(*[st.integers(1, 4)] * 4),
    st.tuples(*[st.sampled_from([1, 3, 5])] * 4),
    st.integers(1, MOST_PRODUCTS),
    st.lists(st.integers(1, 2), min_size=1, max_size=2),
    st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
def test_a_chain_of_sums_of_products_is_that_of_stack(
    size: tuple[int, ...], sides: tuple[int, ...], products: int, channels: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    widths = list(zip([2, *channels], channels, strict=False))
    layers = [(sum_of_products(products, o, i, sides), torch.randn(o).double()) for i, o in widths]
    layers.append((torch.randn(3, channels[-1], 1, 1, 1, 1).double(), torch.randn(3).double()))
    volumes = [torch.randn(batch, 2, *size, dtype=torch.float64) for batch in (1, 1)]
    volumes.append(volumes[0].permute(0, 1, 4, 5, 2, 3))  # perhaps another grid
    with torch.no_grad():
        found = SEPARABLE.fitted(layers).chain(volumes, layers, None)
        for y, true in zip(found, STACK.chain(volumes, layers), strict=True):
            assert (y - true).abs().max() <= 1e-5 * (true.abs().max() + 1)


def test_the_sum_is_the_kernel_up_to_its_rounding() -> None:
    kernel = votes((7, 1)).weights[0][0]
    rows, columns = factors(kernel)
    assert len(rows) == 2
    found = torch.einsum("fiac,ofbd->oiabcd", torch.from_numpy(rows), torch.from_numpy(columns))
    assert (found - kernel).abs().max() <= 1e-7 * kernel.abs().max()


@pytest.mark.parametrize("seed", range(3))
def test_random_kernels_are_refused(seed: int) -> None:
    torch.manual_seed(seed)
    consensus = NeighbourhoodConsensus((5, 3), (4, 1))
    with pytest.raises(NotSeparableError, match="at most 4 products"):
        SEPARABLE.fitted(consensus.weights)


@pytest.mark.parametrize("changed", range(4))
def test_every_tap_that_differs_takes_a_product_more_until_there_are_too_many(changed: int) -> None:
    kernel = votes().weights[0][0].detach().clone()
    for tap in range(changed):
        kernel[0, 0, tap, 2, 0, tap] += 1e-3
    if changed < 3:
        assert len(factors(kernel)[0]) == 2 + changed
    else:
        with pytest.raises(NotSeparableError):
            factors(kernel)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_kernels_that_are_not_finite_are_refused(number: float) -> None:
    kernel = votes().weights[0][0].detach().clone()
    kernel[0, 0, 0, 0, 0, 0] = number
    with pytest.raises(NotSeparableError, match="not finite"):
        factors(kernel)


def test_half_precision_is_refused() -> None:
    with pytest.raises(NotSeparableError, match="half precision"):
        SEPARABLE.fitted(votes().half().weights)


@torch.no_grad()
def test_the_plain_start_of_small_is_symmetric_and_matches_as_stack_does() -> None:
    config = PRESETS["small"].replace(image_size=(96, 128))
    model = DCCNet(config)
    start_plain(model, both_ways=True)
    maps = [torch.rand(2, 1, *model.grid, *model.grid) ** 4 for _ in range(2)]
    expected = model.consensus.double()([c.double() for c in maps])
    model.consensus.float()
    model.lower(SEPARABLE)
    assert model.consensus.lowering.symmetric
    for y, true in zip(model.consensus(maps), expected, strict=True):
        assert (y - true).abs().max() <= 2e-6 * true.abs().max()


@torch.no_grad()
def test_kernels_that_are_not_symmetric_meet_both_orders_of_the_pictures() -> None:
    consensus = votes()
    weight = consensus.layers[0].weight
    rows, columns = vote_kernel(5).sum((1, 3)), vote_kernel(5).sum((0, 2))
    rows[0, 1] += 0.5  # a step down in A is worth one in B, and not the other way round
    weight[0, 0] = torch.einsum("ac,bd->abcd", rows, columns)
    assert not torch.equal(weight, swapped_kernel(weight))
    maps = [torch.rand(1, 1, 4, 5, 4, 5)]
    expected = consensus(maps)[0]
    consensus.lowering = SEPARABLE.fitted(consensus.weights)
    assert isinstance(consensus.lowering, Separable) and not consensus.lowering.symmetric
    torch.testing.assert_close(consensus(maps)[0], expected, rtol=1e-5, atol=1e-6)
