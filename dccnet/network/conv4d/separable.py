"""4D convolution by factors: exact where a kernel treats rows and columns apart.

A kernel that is a sum of a few products of a kernel over the rows of A and B and one over their columns,
``K[yA, xA, yB, xB] = sum_f R_f[yA, yB] · C_f[xA, xB]``, is two small 2D convolutions instead of a 4D one:
``2·k²`` taps for each product instead of ``k⁴``. Kernels of votes (``training/starts.py``) are sums of two
products. Trained kernels are no such sums, and are refused.

The products are found by a singular value decomposition, once, before anything is traced. docs/conv4d.md
has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dccnet.network.conv4d.fourier import Matrix
from dccnet.network.conv4d.lowering import Layers

MOST_PRODUCTS = 4
"""Largest number of products that a kernel may be the sum of."""
TOLERANCE = 2.0**-22
"""Largest sum of what the products leave of a kernel, as a share of the kernel's sum (both of absolute
values). The rounding of a kernel to float32 alone may reach a quarter of it."""
LANES = 16
"""Planes that are convolved side by side, as channels: these fill a CPU's vector unit."""


class NotSeparableError(ValueError):
    """A kernel is no sum of few products."""


class Factors(NamedTuple):
    """A layer as a sum of products."""

    rows: NDArray[np.float64]
    """``(products, Cin, kA, kB)``, over the rows of A and B."""
    columns: NDArray[np.float64]
    """``(Cout, products, kA, kB)``, over their columns."""


class Pointwise(NamedTuple):
    """A layer whose kernel is a single cell."""

    weight: NDArray[np.float64]
    """``(Cout, Cin, 1, 1)``."""


class Separable:
    """Chains of layers whose kernels are sums of few products, for weights that do not change any more.

    ``fitted`` makes a lowering of the weights of a chain, which that lowering then uses, whatever it is
    given. It computes no gradients with respect to them.
    """

    symmetric = False

    def __init__(self) -> None:
        self._layers: list[tuple[Factors | Pointwise, NDArray[np.float64]]] | None = None

    def fitted(self, layers: Layers) -> Separable:
        """See :meth:`~dccnet.network.conv4d.lowering.Lowering.fitted`.

        Raises :class:`NotSeparableError` for other kernels than those, and in half precision.
        """
        fitted = Separable()
        fitted._layers = [
            (
                Pointwise(_numbers(weight).squeeze((4, 5)))
                if max(weight.shape[2:]) == 1
                else factors(weight),
                _numbers(bias),
            )
            for weight, bias in layers
        ]
        fitted.symmetric = all(torch.equal(weight, swapped_kernel(weight)) for weight, _ in layers)
        return fitted

    def chain(
        self, volumes: Sequence[Tensor], layers: Layers, recompute: bool | None = None
    ) -> list[Tensor]:
        """See :meth:`~dccnet.network.conv4d.lowering.Lowering.chain`. Volumes of one grid share a batch."""
        if self._layers is None:
            return self.fitted(layers).chain(volumes, layers, recompute)
        if len({volume.shape[2:] for volume in volumes}) == 1:
            return list(self._run(torch.cat(list(volumes))).unflatten(0, (len(volumes), -1)))
        return [self._run(volume) for volume in volumes]

    def _run(self, c: Tensor) -> Tensor:
        assert self._layers is not None
        _, _, ha, wa, hb, wb = c.shape
        # Planes over rows, one for each pair of columns. In two steps: engines copy whole rows, and
        # transpose matrices, faster than single numbers.
        by_rows = c.permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)  # (B, C, hA·hB, wA·wB)
        planes = [x.transpose(1, 2).unflatten(2, (ha, hb)) for x in by_rows.unbind(1)]
        over_rows = True
        for layer, bias in self._layers:
            if isinstance(layer, Pointwise):
                planes = _activated(planes, layer.weight, bias)
                continue
            if not over_rows:
                planes = [_swapped(x, (ha, hb)) for x in planes]
            inner = [_swapped(_convolved(planes, kernels), (wa, wb)) for kernels in layer.rows]
            planes, over_rows = _activated(inner, layer.columns, bias), False
        if over_rows:
            planes = [_swapped(x, (wa, wb)) for x in planes]
        channels = torch.stack(planes, 1)  # (B, C, hA·hB, wA, wB)
        result: Tensor = torch.unflatten(channels, 2, (ha, hb)).permute(0, 1, 2, 4, 3, 5)
        return result


def factors(weight: Tensor) -> Factors:
    """The kernel ``(Cout, Cin, k_hA, k_wA, k_hB, k_wB)`` as a sum of as few products as possible.

    Raises :class:`NotSeparableError` where it takes more than :data:`MOST_PRODUCTS`, for numbers that are
    not finite, and in half precision, where rounding hides the products.
    """
    if weight.dtype not in (torch.float32, torch.float64):
        raise NotSeparableError("kernels in half precision are no sums of few products")
    if not torch.isfinite(weight).all():  # a decomposition of these may never end
        raise NotSeparableError("kernels that are not finite are no sums of few products")
    cout, cin, *sides = weight.shape
    # (Cin, k_hA, k_hB) by (Cout, k_wA, k_wB)
    matrix = _numbers(weight).transpose(1, 2, 4, 0, 3, 5).reshape(cin * sides[0] * sides[2], -1)
    left, strengths, right = np.linalg.svd(matrix, full_matrices=False)
    left, right = left * np.sqrt(strengths), np.sqrt(strengths)[:, None] * right
    by_output = (len(matrix), cout, -1)
    whole = np.abs(matrix).reshape(by_output).sum((0, 2))
    for products in range(1, min(MOST_PRODUCTS, len(strengths)) + 1):
        rest = np.abs(matrix - left[:, :products] @ right[:products]).reshape(by_output).sum((0, 2))
        if (rest <= TOLERANCE * whole).all():
            return Factors(
                left[:, :products].T.reshape(products, cin, sides[0], sides[2]),
                right[:products].reshape(products, cout, sides[1], sides[3]).swapaxes(0, 1),
            )
    raise NotSeparableError(
        f"separable needs 4D kernels that are sums of at most {MOST_PRODUCTS} products of a kernel over "
        "rows and one over columns, as kernels of votes are, and this network's are not"
    )


def swapped_kernel(weight: Tensor) -> Tensor:
    """The kernel that meets a transposed volume as ``weight`` meets the volume: A and B swap."""
    return weight.permute(0, 1, 4, 5, 2, 3)


def _numbers(x: Tensor) -> NDArray[np.float64]:
    return x.detach().double().cpu().numpy()


def _activated(
    planes: Sequence[Tensor], kernels: NDArray[np.float64], bias: NDArray[np.float64]
) -> list[Tensor]:
    """All output channels of a convolution of planes, after the ReLU."""
    channels = (_convolved(planes, of_output) for of_output in kernels)
    return [F.relu(x + float(b) if b else x) for x, b in zip(channels, bias, strict=True)]


def _convolved(planes: Sequence[Tensor], kernels: NDArray[np.float64]) -> Tensor:
    """The sum of the planes of each channel ``(B, n, h, w)``, each convolved with its kernel ``(k, k)``."""
    return reduce(add, map(_depthwise, planes, kernels))


def _depthwise(x: Tensor, kernel: NDArray[np.float64]) -> Tensor:
    """Every plane of ``(B, n, h, w)`` convolved with one kernel ``(k, k)``."""
    if kernel.size == 1:
        return x * float(kernel.item())
    n, lanes = x.shape[1], -x.shape[1] % LANES
    if lanes:
        x = F.pad(x, (0, 0, 0, 0, 0, lanes))
    weight = Matrix(np.broadcast_to(kernel, (LANES, 1, *kernel.shape)).copy()).like(x)
    padding = [k // 2 for k in kernel.shape]
    y = F.conv2d(x.reshape(-1, LANES, *x.shape[2:]), weight, padding=padding, groups=LANES)
    return y.reshape(-1, n + lanes, *y.shape[2:])[:, :n]


def _swapped(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """``(B, n, h, w)`` -> ``(B, h·w, *sides)``: planes over the other pair of axes."""
    swapped: Tensor = torch.unflatten(x.flatten(2).transpose(1, 2), 2, sides)
    return swapped
