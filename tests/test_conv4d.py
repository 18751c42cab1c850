from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dccnet.conv4d import Conv4d, conv4d


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
    assert (conv4d(x, w, b).double() - expected).abs().max() <= tolerance * scale


@pytest.mark.parametrize(("cin", "cout"), [(1, 3), (3, 1), (2, 2), (1, 1)])
def test_gradients(cin: int, cout: int) -> None:
    x = torch.randn(2, cin, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(cout, cin, 3, 3, 3, 1, dtype=torch.float64, requires_grad=True)
    b = torch.randn(cout, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv4d, (x, w, b))


def test_swapped_is_convolution_of_the_transposed_volume() -> None:
    torch.manual_seed(0)
    layer = Conv4d(2, 3, (3, 5, 1, 3)).double()
    x = torch.randn(2, 2, 4, 5, 3, 6, dtype=torch.float64)
    transposed = x.permute(0, 1, 4, 5, 2, 3)
    expected = layer(transposed).permute(0, 1, 4, 5, 2, 3)
    torch.testing.assert_close(layer(x, swapped=True), expected)


@pytest.mark.parametrize(("cin", "cout"), [(1, 16), (16, 16), (16, 1)])
def test_a_layer_is_few_convolution_calls(cin: int, cout: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("conv1d", "conv2d", "conv3d"):
        real = getattr(F, name)
        monkeypatch.setattr(F, name, lambda *a, real=real, **k: calls.append(1) or real(*a, **k))
    conv4d(torch.randn(1, cin, 4, 4, 4, 4), torch.randn(cout, cin, 5, 5, 5, 5))
    assert len(calls) == 1


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
