"""Half precision: which steps of the network run in it, and which stay in float32.

``DCCNet.in_half()`` has the weights of the backbone, the context encoder, the 4D convolutions and the
attention in float16, and these parts cast what they are given to their weights' type
(:func:`as_weights_of`). Between them lie islands, marked :func:`float32_island` where they are defined:
steps whose sums or quotients float16 cannot hold. docs/precision.md has the measurement for each. In a
float32 or float64 network none of this has any effect.

Training in bfloat16 (``torch.autocast``) keeps all weights in float32, and the same islands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_HALVES = (torch.float16, torch.bfloat16)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def float32_island(function: _Function) -> _Function:
    """Decorator: compute in float32, also for half-precision arguments and in autocast; return float32."""

    @functools.wraps(function)
    def island(*arguments: Any) -> Any:
        wide = [widened(a) if isinstance(a, Tensor) else a for a in arguments]
        kind = next(a for a in wide if isinstance(a, Tensor)).device.type
        if not torch.is_autocast_enabled(kind):
            return function(*wide)
        with torch.autocast(kind, enabled=False):
            return function(*wide)

    return island  # type: ignore[return-value]


def widened(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; any other type unchanged."""
    return x.float() if x.dtype in _HALVES else x


def as_weights_of(module: nn.Module, x: Tensor) -> Tensor:
    """``x`` in the type of the module's weights."""
    return x.to(next(module.parameters()).dtype)


def set_tf32(allowed: bool) -> None:
    """Choose whether float32 products on a GPU may be computed in TF32, with ten bits of mantissa.

    This holds for the whole process. PyTorch allows TF32 in convolutions unless told otherwise.
    """
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def tf32_allowed() -> bool:
    """Whether PyTorch computes float32 convolutions in TF32."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:  # convolutions and recurrent networks have different settings
        convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined, unused-ignore]
        return bool(convolutions.fp32_precision == "tf32")
