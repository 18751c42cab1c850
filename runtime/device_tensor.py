"""Features in the memory of a GPU, which other libraries can read without a copy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dccnet.runtime.dlpack import CUDA, export_capsule
from dccnet.runtime.errors import EngineError


@dataclass(frozen=True, eq=False)  # no slots: the pool of memory holds a weak reference
class DeviceTensor:
    """A row-major array on a GPU.

    ``cupy.asarray(tensor)``, ``torch.as_tensor(tensor, device="cuda")`` and ``from_dlpack(tensor)`` of any
    library keep the memory alive. It must not be written to: later matches would use what was written.
    Keep it until your own work on the GPU that reads it is done: the memory is then used again.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: int
    """Index of the GPU."""
    owner: Any = None
    """Object that keeps the memory alive; None: this one does."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),  # PyTorch refuses arrays that are marked as read-only
            "strides": None,
            "version": 3,
            "stream": None,  # no pending work: encode() waits for its stream
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule. No stream has to wait: ``encode`` waits for its work.

        Raises ``BufferError`` for another device and for a copy, which is not made here.
        """
        here = self.__dlpack_device__()
        if copy or dl_device not in (None, here):
            raise BufferError(f"these features are on {here} and are not copied here")
        return export_capsule(self.pointer, self.shape, self.dtype, here, self)


def require_on_gpu(features: Mapping[str, Any], device: int) -> dict[str, DeviceTensor]:
    """The features by name. Raises :class:`EngineError` where one of them is not on GPU ``device``."""
    for tensor in features.values():
        if not isinstance(tensor, DeviceTensor):
            raise EngineError("these features were encoded by another backend: encode them again")
        if tensor.device != device:
            raise EngineError(
                f"these features are on cuda:{tensor.device}, the matcher is on cuda:{device}: encode them "
                "again there"
            )
    return dict(features)
