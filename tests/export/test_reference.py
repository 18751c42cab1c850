"""The reference of a verification, against the definition's own form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.export.reference import Reference
from dccnet.network.conv4d import STACK

SIDES = st.sampled_from([1, 3, 5, 7])


def _layer(generator: torch.Generator, cin: int, cout: int, sides: tuple[int, ...]):
    weight = torch.randn(cout, cin, *sides, dtype=torch.float64, generator=generator)
    return weight, torch.randn(cout, dtype=torch.float64, generator=generator)


@settings(max_examples=30, deadline=None)
@given(
    grid=st.tuples(*[st.integers(1, 7)] * 4),
    kernels=st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), min_size=1, max_size=2),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    batch=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_it_equals_stack_for_any_grid_and_kernels(grid, kernels, channels, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = [1, *channels]
    layers = [_layer(generator, *sizes[i : i + 2], sides) for i, sides in enumerate(kernels)]
    volumes = [torch.randn(batch, 1, *grid, dtype=torch.float64, generator=generator) for _ in range(2)]
    for found, true in zip(Reference().chain(volumes, layers), STACK.chain(volumes, layers), strict=True):
        assert found.shape == true.shape
        assert (found - true).abs().max() <= 1e-12 * max(1.0, float(true.abs().max()))


def test_volumes_of_different_grids_are_taken():
    generator = torch.Generator().manual_seed(1)
    layers = [_layer(generator, 1, 2, (3, 5, 3, 5)), _layer(generator, 2, 1, (3, 3, 3, 3))]
    volumes = [
        torch.rand(1, 1, *grid, dtype=torch.float64, generator=generator)
        for grid in ((4, 5, 6, 7), (6, 7, 4, 5))
    ]
    for found, true in zip(Reference().chain(volumes, layers), STACK.chain(volumes, layers), strict=True):
        torch.testing.assert_close(found, true, rtol=0, atol=1e-12)


def test_threads_are_left_as_they_were() -> None:
    """Also where a volume is refused, in a thread of its own."""
    layers = [_layer(torch.Generator().manual_seed(3), 1, 1, (3, 3, 3, 3))]
    volumes = [torch.rand(1, 1, 4, 4, 4, 4, dtype=torch.float64) for _ in range(3)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = Reference().chain(volumes, layers)
        with pytest.raises(ValueError, match="longer"):
            Reference().chain([volumes[0], volumes[1][0]], layers)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        for found, volume in zip(together, volumes, strict=True):
            torch.testing.assert_close(found, Reference().chain([volume], layers)[0], rtol=0, atol=1e-14)
    finally:
        torch.set_num_threads(before)


def test_a_wrong_tap_is_seen():
    """What the comparison with ``stack`` could not see, a verification could not, either."""
    generator = torch.Generator().manual_seed(2)
    weight, bias = _layer(generator, 1, 1, (3, 3, 3, 3))
    wrong = weight.clone()
    wrong[0, 0, 0, 1, 2, 0] += 1e-3
    volume = torch.rand(1, 1, 5, 5, 5, 5, dtype=torch.float64, generator=generator)
    (true,), (found,) = (Reference().chain([volume], [(w, bias)]) for w in (weight, wrong))
    assert (found - true).abs().max() > 1e-4
