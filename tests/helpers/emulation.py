"""An emulated machine with a GPU: CUDA and TensorRT, for tests of the code that uses them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dccnet.runtime.arrays import Array
from tests.helpers.fake_cuda import FakeCuda
from tests.helpers.fake_tensorrt import FakeTensorRT

CUDA, CUDA_DRIVER = "cuda.bindings.runtime", "cuda.bindings.driver"


@dataclass
class Machine:
    """The emulated libraries."""

    cuda: FakeCuda = field(default_factory=FakeCuda)
    tensorrt: FakeTensorRT = field(default_factory=FakeTensorRT)

    def array(self, values: Array) -> GpuArray:
        return GpuArray(self.cuda, values)


@contextmanager
def emulated(cache: Path, library: str = "tensorrt", version: str | None = None) -> Iterator[Machine]:
    """A machine with one GPU of capability 8.6 and one library, for imports within the block."""
    usual = "11.4.0.106" if library == "tensorrt" else "1.7.1.116"
    machine = Machine(tensorrt=FakeTensorRT(library, version or usual))
    machine.tensorrt.enqueue = machine.cuda.enqueue
    machine.tensorrt.gpu_name = lambda index: machine.cuda.gpus[index].name.decode()
    machine.tensorrt.current_gpu = lambda: int(machine.cuda.cudaGetDevice())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, CUDA, machine.cuda.module)
        patch.setitem(sys.modules, CUDA_DRIVER, machine.cuda.driver)
        for name in ("tensorrt", "tensorrt_rtx"):
            patch.setitem(sys.modules, name, machine.tensorrt.module if name == library else None)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield machine


class GpuArray:
    """Another library's array on the emulated GPU; its values are there once its stream has run."""

    def __init__(self, cuda: FakeCuda, values: Array) -> None:
        self.stream: int = cuda.module.cudaStreamCreateWithFlags(1)[1]
        self.pointer: int = cuda.module.cudaMalloc(values.nbytes)[1]
        self._values, self._cuda = np.ascontiguousarray(values), cuda
        kind = cuda.module.cudaMemcpyKind.cudaMemcpyHostToDevice
        cuda.module.cudaMemcpyAsync(
            self.pointer, self._values.ctypes.data, values.nbytes, kind, self.stream
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self._values.shape,
            "typestr": self._values.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "version": 3,
            "stream": self.stream,
        }
