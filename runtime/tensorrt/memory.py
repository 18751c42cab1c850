"""Memory of a GPU for features: handed out, and reused."""

from __future__ import annotations

import contextlib
import weakref
from collections import deque

from dccnet.runtime.cuda import Device
from dccnet.runtime.device_tensor import DeviceTensor
from dccnet.runtime.tensorrt.runner import TensorInfo


class BufferPool:
    """Device memory for features, reused once they are garbage-collected: allocating stalls the GPU.

    Memory comes back in finalisers, which the collector can run between any two lines of any thread, these
    methods included. A lock would wait for its own thread then; the methods of a deque are atomic instead.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._unused: dict[int, deque[int]] = {}
        """Addresses by the size of their memory."""
        self._closed = False

    def allocate(self, info: TensorInfo) -> DeviceTensor:
        """A tensor of this shape and type, whose memory returns to the pool when it is collected."""
        try:
            pointer = self._unused_of(info.nbytes).pop()
        except IndexError:
            pointer = self._device.allocate(info.nbytes)
        tensor = DeviceTensor(pointer, info.shape, info.dtype, self._device.index)
        weakref.finalize(tensor, self._recycle, pointer, info.nbytes).atexit = False
        return tensor

    def _recycle(self, pointer: int, nbytes: int) -> None:
        self._unused_of(nbytes).append(pointer)
        if self._closed:  # asked after the memory was returned: close() frees it, or this call does
            with self._device.activate():
                self._free_unused()

    def close(self) -> None:
        """Free unused memory now, and the memory of each tensor when it is collected."""
        self._closed = True
        self._free_unused()

    def _unused_of(self, nbytes: int) -> deque[int]:
        return self._unused.setdefault(nbytes, deque())

    def _free_unused(self) -> None:
        for pointers in list(self._unused.values()):
            while pointers:
                with contextlib.suppress(IndexError):  # another thread took the last one
                    self._device.free(pointers.pop())
