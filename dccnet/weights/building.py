"""Building the network that a file describes, in no more memory than its weights can fill."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dccnet.network.config import ModelConfig
from dccnet.network.model import DCCNet

ALWAYS_ALLOWED = 1 << 28
"""Elements, six times those of the largest preset: a file that lacks weights should say which."""

_CREATE = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}
"""Functions that modules create their weights with; the size comes first."""


def build_network(config: ModelConfig, weights: Iterable[Tensor]) -> DCCNet:
    """A network with ``config``, for ``weights`` that a file contains.

    Raises ``ValueError`` for a configuration that asks for far more weights than the file has, before the
    memory is taken.
    """
    stored = sum(tensor.untyped_storage().nbytes() // max(tensor.element_size(), 1) for tensor in weights)
    with _AtMost(max(4 * stored, ALWAYS_ALLOWED)):
        return DCCNet(config)


class _AtMost(TorchFunctionMode):
    """Refuses to create more elements than a number."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self._left = elements

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _CREATE:
            size = kwargs.get("size", args) if kwargs else args
            sides = size[0] if len(size) == 1 and isinstance(size[0], (list, tuple)) else size
            self._left -= math.prod(sides)
            if self._left < 0:
                raise ValueError("its configuration asks for far more weights than the file has")
        return func(*args, **(kwargs or {}))
