"""Arrays of other libraries that are already on a GPU: CuPy, PyCUDA, PyTorch, and any other library with
``__cuda_array_interface__`` or DLPack. Nothing is copied here, and none of these libraries is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dccnet.runtime.dlpack import CUDA, CUDA_MANAGED, KINDS, tensor_in
from dccnet.runtime.errors import ImageError
from dccnet.runtime.geometry import Size

LEGACY_STREAM = 1
"""CUDA's default stream, by its number in both protocols."""


@dataclass(frozen=True, slots=True)
class DeviceView:
    """An array of another library on a GPU: row-major, contiguous."""

    pointer: int
    """Address on the GPU."""
    shape: tuple[int, ...]
    dtype: str
    """NumPy's name, such as ``uint8``."""
    stream: int | None
    """Stream whose work must be complete before the array is read; None: no stream."""
    owner: Any
    """Object that keeps the memory alive."""


def is_on_gpu(array: Any) -> bool:
    """Whether an array states that it is on a GPU. Nothing is exported, so that no GPU must be active."""
    return hasattr(array, "__cuda_array_interface__") or _dlpack_index(array) is not None


def device_view(array: Any, device: int) -> DeviceView | None:
    """A view of an array on GPU ``device``, which must be active on this thread; None for a host array.

    PyTorch exports a tensor only while the tensor's own GPU is the current one. Raises
    :class:`ImageError` for an array on another GPU and for one that is not contiguous.
    """
    interface = getattr(array, "__cuda_array_interface__", None)
    # DLPack handles streams, the interface only since version 3; PyTorch has DLPack and version 2.
    if interface is not None and interface["version"] < 3 and hasattr(array, "__dlpack__"):
        interface = None
    if interface is not None:
        return _from_interface(interface, array)
    index = _dlpack_index(array)
    if index is None:
        return None
    if index != device:
        raise ImageError(f"the frame is on cuda:{index}, the engines are on cuda:{device}: move it")
    return _from_dlpack(array)


def _dlpack_index(array: Any) -> int | None:
    """Index of the GPU that the array is on; None for an array on the host or without DLPack."""
    if not hasattr(array, "__dlpack_device__"):
        return None
    kind, index = array.__dlpack_device__()
    return int(index) if kind in (CUDA, CUDA_MANAGED) else None


def check_frame(view: DeviceView, size: Size, dtype: str) -> None:
    """Check for a frame ``(H, W, 3)`` of this size and type. Raises :class:`ImageError`."""
    height, width = size
    if view.shape != (height, width, 3) or view.dtype != dtype:
        raise ImageError(
            f"a frame on the GPU must have the network's own shape and type, ({height}, {width}, 3), "
            f"{dtype} BGR from 0 to 255, since it is not converted there; got {view.shape}, "
            f"{view.dtype}"
        )


def _from_interface(interface: dict[str, Any], owner: Any) -> DeviceView:
    shape, kind = tuple(interface["shape"]), str(interface["typestr"])
    itemsize = int(kind[2:])
    _check_contiguous(shape, interface.get("strides"), itemsize)
    names = {"i": "int", "u": "uint", "f": "float", "c": "complex", "b": "bool"}
    dtype = f"{names.get(kind[1], kind[1])}{8 * itemsize}"
    # In version 3, no stream means that there is no work to wait for.
    stream = interface.get("stream") if interface["version"] >= 3 else LEGACY_STREAM
    return DeviceView(int(interface["data"][0]), shape, dtype, stream, owner)


def _from_dlpack(array: Any) -> DeviceView:
    # The producer makes the default stream wait for its own stream: waiting for the default one suffices.
    capsule = array.__dlpack__(stream=LEGACY_STREAM)
    tensor = tensor_in(capsule)
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    itemsize = tensor.bits * tensor.lanes // 8
    strides = tuple(itemsize * tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    _check_contiguous(shape, strides, itemsize)
    dtype = f"{KINDS.get(tensor.code, 'unknown')}{tensor.bits}"
    pointer = int(tensor.data or 0) + int(tensor.byte_offset)
    return DeviceView(pointer, shape, dtype, LEGACY_STREAM, (capsule, array))


def _check_contiguous(shape: tuple[int, ...], strides: tuple[int, ...] | None, itemsize: int) -> None:
    dense = [itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
    if strides is not None and any(
        side > 1 and stride != wanted for side, stride, wanted in zip(shape, strides, dense, strict=True)
    ):
        raise ImageError(
            "a frame on the GPU must be stored row by row without gaps: make it contiguous (in CuPy "
            "cupy.ascontiguousarray, in PyTorch .contiguous())"
        )
