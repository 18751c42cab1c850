"""4D convolutions as the reference of a verification: exact, and independent of what is exported.

Every export is compared with PyTorch. ``stack`` would take most of an export's time at the paper's size,
this form a third of it. It shares no code with the lowerings that are exported: PyTorch's fast Fourier
transform does the last two axes, where ``spectral`` has matrices for the first ones, and its convolution
the others. ``tests/export/test_reference.py`` holds it to ``stack`` in float64.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.export.threads import one_thread_each
from dccnet.network.conv4d import STACK
from dccnet.network.conv4d.lowering import AnyWeights, Layers
from dccnet.network.model import DCCNet


class Reference(AnyWeights):
    """Fourier transforms of picture B's axes, and a 2D convolution of A's for each frequency."""

    def chain(
        self, volumes: Sequence[Tensor], layers: Layers, recompute: bool | None = None
    ) -> list[Tensor]:
        """See :meth:`~dccnet.network.conv4d.lowering.Lowering.chain`; nothing is kept for training."""
        return one_thread_each(partial(_chain, layers=layers), volumes)


@contextlib.contextmanager
def as_reference(model: DCCNet) -> Iterator[None]:
    """In the block, ``model`` computes its 4D convolutions in this form; after it, by ``stack`` again."""
    model.lower(Reference())
    try:
        yield
    finally:
        model.lower(STACK)


@torch.no_grad()
def _chain(x: Tensor, layers: Layers) -> Tensor:
    for weight, bias in layers:
        x = F.relu(_convolve(x, weight) + bias.view(-1, 1, 1, 1, 1))
    return x


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    """``(B, Cin, D1, D2, D3, D4)`` -> ``(B, Cout, D1, D2, D3, D4)``, without the bias."""
    cells, taps = x.shape[4:], weight.shape[4:]
    # The result is cut out behind the first k//2 cells, which alone see what wraps around the circle.
    circle = [n + k // 2 for n, k in zip(cells, taps, strict=True)]
    if any(k > n for n, k in zip(circle, taps, strict=True)):  # rfft2 would cut the kernel
        circle = [n + k - 1 for n, k in zip(cells, taps, strict=True)]
    spectrum = torch.fft.rfft2(x, circle).flatten(4)  # (B, Cin, D1, D2, F)
    # Flipped, because the product of spectra is a convolution, and layers are cross-correlations.
    kernel = torch.fft.rfft2(weight.flip((4, 5)), circle).flatten(4)  # (Cout, Cin, k1, k2, F)
    y = _per_frequency(spectrum.permute(0, 4, 1, 2, 3), kernel.permute(4, 0, 1, 2, 3))
    y = y.permute(0, 2, 3, 4, 1).unflatten(4, (circle[0], circle[1] // 2 + 1))
    d3, d4 = (slice(k // 2, k // 2 + n) for n, k in zip(cells, taps, strict=True))
    result: Tensor = torch.fft.irfft2(y, circle)[..., d3, d4]
    return result


def _per_frequency(x: Tensor, kernels: Tensor) -> Tensor:
    """Complex 2D convolutions: ``(B, F, Cin, D1, D2)`` with ``(F, Cout, Cin, k1, k2)`` ->
    ``(B, F, Cout, D1, D2)``."""
    real, imaginary = kernels.real, kernels.imag
    # Complex numbers are pairs of reals: (a + bi)(c + di) = (ac - bd) + (ad + bc)i.
    rows = torch.cat([real, -imaginary], 2), torch.cat([imaginary, real], 2)
    y = F.conv2d(
        torch.cat([x.real, x.imag], 2).flatten(1, 2),
        torch.cat(rows, 1).flatten(0, 1),
        padding=[k // 2 for k in kernels.shape[3:]],
        groups=len(kernels),
    )
    parts = y.unflatten(1, (len(kernels), 2, -1))
    return torch.complex(parts[:, :, 0], parts[:, :, 1])
