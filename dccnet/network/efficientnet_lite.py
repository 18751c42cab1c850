"""EfficientNet-lite0, -lite1 and -lite2, whole or to stride 16 (Tan and Le 2019).

The "lite" variants of 2020: ReLU6, no squeeze. The weights were trained in TensorFlow, so strided layers
pad as TensorFlow does: unevenly, the larger half at the bottom and right.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

_BATCH_NORM_EPSILON = 1e-3  # TensorFlow's default for EfficientNet


class _Stage(NamedTuple):
    kernel: int
    stride: int
    expansion: int


class _Size(NamedTuple):
    channels: tuple[int, ...]
    """Output channels of each stage."""
    repeats: tuple[int, ...]
    """Blocks of each stage."""


_STEM_CHANNELS = 32
_STAGES = (
    _Stage(3, 1, 1),
    _Stage(3, 2, 6),
    _Stage(5, 2, 6),
    _Stage(3, 2, 6),
    _Stage(5, 1, 6),
    _Stage(5, 2, 6),
    _Stage(3, 1, 6),
)
_TO_STRIDE_16 = 5  # stages

SIZES = {
    "lite0": _Size((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "lite1": _Size((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    "lite2": _Size((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}


def efficientnet_lite(size: str) -> nn.Sequential:
    """All blocks, without the classifier: ``(B, 3, H, W)`` -> ``(B, C, ceil(H/32), ceil(W/32))``.

    ``size`` is one of :data:`SIZES`; C is 320, for ``lite2`` 352.
    """
    return _first_stages(size, len(_STAGES))


def efficientnet_lite_trunk(size: str) -> nn.Sequential:
    """The first five of seven stages: ``(B, 3, H, W)`` -> ``(B, C, ceil(H/16), ceil(W/16))``.

    ``size`` is one of :data:`SIZES`; C is 112, for ``lite2`` 120.
    """
    return _first_stages(size, _TO_STRIDE_16)


def _first_stages(size: str, number: int) -> nn.Sequential:
    trunk = nn.Sequential()
    trunk.add_module("stem", _ConvNormAct(3, _STEM_CHANNELS, kernel=3, stride=2))
    channels, index = _STEM_CHANNELS, 0
    for stage, width, repeats in zip(_STAGES[:number], *SIZES[size], strict=False):
        for repeat in range(repeats):
            stride = stage.stride if repeat == 0 else 1
            block = _InvertedResidual(channels, width, stage.kernel, stride, stage.expansion)
            trunk.add_module(f"block{index}", block)
            channels, index = width, index + 1
    return trunk


class SameConv2d(nn.Conv2d):
    """TensorFlow's "SAME" padding: output side is ceil(input side / stride)."""

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = self.padding_along(x.shape[-2])
        left, right = self.padding_along(x.shape[-1])
        if (top, left) == (bottom, right):
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), 1, self.groups)
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)

    def padding_along(self, side: int) -> tuple[int, int]:
        """Zeros before and after an axis of ``side``."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2


class _ConvNormAct(nn.Sequential):
    def __init__(
        self, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = SameConv2d(cin, cout, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(cout, eps=_BATCH_NORM_EPSILON)
        if act:
            self.act = nn.ReLU6()


class _InvertedResidual(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = cin * expansion
        self.expand = _ConvNormAct(cin, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _ConvNormAct(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _ConvNormAct(hidden, cout, 1, act=False)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y
