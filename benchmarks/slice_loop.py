"""The baseline: 4D convolution slice by slice, as the authors of NC-Net and DCCNet compute it.

Written from the description of the method: for every slice along the first axis and every tap of the
kernel, one small Conv3d, whose result is added to the slice's sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.network.conv4d import LayoutLowering


class SliceLoop(LayoutLowering):
    """The authors' computation, for :meth:`dccnet.DCCNet.lower`."""

    def enter(self, c: Tensor) -> Tensor:
        return c

    def leave(self, x: Tensor) -> Tensor:
        return x

    def convolution(
        self, weight: Tensor, bias: Tensor | None, grid: Sequence[int]
    ) -> Callable[[Tensor], Tensor]:
        return partial(_convolve, weight=weight, bias=bias)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    taps = weight.shape[2]
    centre, padding = taps // 2, [k // 2 for k in weight.shape[3:]]
    slices = x.permute(2, 0, 1, 3, 4, 5).contiguous()
    kernels = weight.permute(2, 0, 1, 3, 4, 5).contiguous()
    margin = slices.new_zeros(centre, *slices.shape[1:])
    padded = torch.cat([margin, slices, margin])
    out = slices.new_zeros(len(slices), slices.shape[1], weight.shape[0], *slices.shape[3:])
    for i in range(len(slices)):
        for tap in range(taps):
            part = F.conv3d(padded[i + tap], kernels[tap], bias if tap == centre else None, padding=padding)
            out[i] = out[i] + part
    return out.permute(1, 2, 0, 3, 4, 5).contiguous()
