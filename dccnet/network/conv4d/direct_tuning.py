"""How the products of ``direct`` are cut into tiles: measured configurations, and which fit on a GPU.

The configurations were the fastest of those tried on one NVIDIA H200 with 16 channels and 5x5x5x5 kernels
(docs/gpu.md). Any configuration gives the same results up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

SMALLEST_SHARED = 99 * 1024
"""Bytes of shared memory that a block may use on every GPU of compute capability 8.0 or newer."""
MOST_COLUMNS = 256
"""Columns of a product, at most: with more, a tile's sums do not fit into registers."""

Block = tuple[int, int, int]


class Config(NamedTuple):
    """How one product is cut into tiles."""

    block: Block = (2, 2, 1)
    """Neighbouring results, along the first three axes, that one row computes."""
    tile: int = 128
    """Rows of a tile; for the gradient of a kernel, its columns: taps times input channels."""
    deep: int = 64
    """Products added up in one step."""
    warps: int = 4
    stages: int = 3
    """Steps whose operands are in shared memory at once, because loading runs ahead of computing."""
    cached: bool = False
    """Whether volumes are read 8 bytes at a time, which goes through the first-level cache, or 16."""

    def columns(self, channels: int) -> int:
        """Columns of the product: every result of the block, for each of ``channels`` output channels."""
        return math.prod(self.block) * channels

    def shared_bytes(self, channels: int, itemsize: int) -> int:
        """Shared memory for the operands, at most; ``itemsize`` is the bytes of a number."""
        return self.stages * self.deep * (self.tile + self.columns(channels)) * itemsize


class Tuning(NamedTuple):
    """Configurations of the three products of a layer."""

    forward: Config
    gradient: Config
    """Gradient with respect to the layer's input."""
    weight: Config
    """Gradient with respect to the kernel."""


HALVES = {
    "spread": Tuning(Config(), Config(warps=8), Config()),
    "plain": Tuning(*[Config((2, 2, 2), warps=8)] * 3),
    "folded": Tuning(Config(warps=8), Config(), Config((2, 1, 1))),
}
"""For float16 and bfloat16, by ``Core.kind`` of ``direct_layout.py``."""
SINGLES = Tuning(*[Config(deep=32, cached=True)] * 3)
"""For float32 in TF32."""


def tuning_for(kind: str, channels_in: int, channels_out: int, itemsize: int, shared: int) -> Tuning | None:
    """Configurations of a layer on a GPU with ``shared`` bytes of shared memory; None if none fits.

    Channels are those of the product (:class:`~dccnet.network.conv4d.direct_layout.Core`). Numbers of
    2 bytes are float16 or bfloat16, those of 4 are computed in TF32.
    """
    measured = HALVES[kind] if itemsize == 2 else SINGLES
    chosen = [
        fitting(config, channels, itemsize, shared)
        for config, channels in zip(measured, (channels_out, channels_in, channels_out), strict=True)
    ]
    forward, gradient, weight = chosen
    if forward is None or gradient is None or weight is None:
        return None
    return Tuning(forward, gradient, weight)


def fitting(config: Config, channels: int, itemsize: int, shared: int) -> Config | None:
    """The first of :func:`_smaller` that fits into shared memory and registers; None if none does."""
    for smaller in _smaller(config):
        if smaller.columns(channels) <= MOST_COLUMNS and smaller.shared_bytes(channels, itemsize) <= shared:
            return smaller
    return None


def _smaller(config: Config) -> Iterator[Config]:
    """The configuration, with smaller blocks and then with fewer stages, which cost more on an H200."""
    blocks = [config.block]
    for axis in (2, 1, 0):
        blocks.append(tuple(1 if a >= axis else r for a, r in enumerate(config.block)))  # type: ignore[arg-type]
    for stages in range(config.stages, 0, -1):
        for block in dict.fromkeys(blocks):
            yield config._replace(block=block, stages=stages)
