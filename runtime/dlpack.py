"""DLPack: arrays of any library, described by the C structures of dlpack.h, in Python capsules."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

CPU, CUDA, CUDA_MANAGED = 1, 2, 13
"""Types of devices."""
KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_NAME = b"dltensor"


class DLTensor(ctypes.Structure):
    """``DLTensor`` of dlpack.h, the same in all its versions."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _ManagedTensor(ctypes.Structure):
    """``DLManagedTensor``."""

    _fields_ = (("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


_exported: dict[int, tuple[_ManagedTensor, Any, Any]] = {}
"""What consumers still use, by the structure's address: structure, shape, and the memory's owner."""


def _delete(address: int) -> None:
    _exported.pop(address, None)


def _delete_unused(capsule: int) -> None:
    """A consumer renames the capsule and deletes the tensor itself."""
    if _is_valid(capsule, _NAME):
        _delete(_get_pointer(capsule, _NAME))


_deleter, _capsule_deleter = _Deleter(_delete), _Deleter(_delete_unused)


# With plain addresses, because a capsule that is being freed must not be referenced again.
_python = ctypes.pythonapi
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", _python)
)
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _python)
)
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", _python)
)


def export_capsule(
    pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any], device: tuple[int, int], owner: Any
) -> Any:
    """A capsule with row-major memory at ``pointer``; ``owner`` lives as long as somebody uses it.

    ``device`` is the type and number of the device, such as ``(CUDA, 0)``.
    """
    kind, number = device
    sides = (ctypes.c_int64 * len(shape))(*shape)
    bits = 8 * dtype.itemsize
    tensor = DLTensor(pointer, kind, number, len(shape), _CODES[dtype.kind], bits, 1, sides, None, 0)
    managed = _ManagedTensor(tensor, None, _deleter)
    address = ctypes.addressof(managed)
    _exported[address] = managed, sides, owner
    return _new_capsule(address, _NAME, ctypes.cast(_capsule_deleter, ctypes.c_void_p))


def tensor_in(capsule: Any) -> DLTensor:
    """The tensor in a capsule that keeps its name, and thus still frees the memory."""
    address = _get_pointer(id(capsule), _NAME)
    return DLTensor.from_address(address)  # a DLManagedTensor begins with it
