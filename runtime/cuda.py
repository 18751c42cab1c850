"""The part of CUDA that running engines needs; no other file calls CUDA.

It is called through cuda-python or, where only PyCUDA is installed, through PyCUDA. Both work in a GPU's
primary context, which PyTorch, CuPy and ONNX Runtime also use; neither creates a second one. Addresses and
stream handles are plain integers here, as in the interfaces of these libraries.

Written against cuda-python 12.8 and 13 and PyCUDA 2026.1, and tested with an emulation that has the
functions of cuda-python and no others. docs/gpu.md says what has run on a GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dccnet.runtime.arrays import Array, Bytes
from dccnet.runtime.errors import EngineError
from dccnet.runtime.extras import install

Event = Any
"""An event object of the binding."""
NO_BINDING = (
    f"CUDA cannot be called from Python here: {install('gpu')}, or {install('rtx')} for TensorRT-RTX"
)
CUDA_PYTHON, PYCUDA = "cuda.bindings.runtime", "pycuda.driver"
CUDA_PYTHON_DRIVER = "cuda.bindings.driver"
"""CUDA's lower interface, which contexts belong to; part of the same package as :data:`CUDA_PYTHON`."""
BINDINGS = (CUDA_PYTHON, PYCUDA)
"""In order of preference."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, as CUDA describes it."""

    index: int
    name: str
    capability: tuple[int, int]
    """Compute capability: major, minor."""
    total_memory: int
    """In bytes."""


class CudaGraph(Protocol):
    """Work captured from a stream, which can be enqueued again."""

    def launch(self, stream: int) -> None:
        """Enqueue the captured work."""

    def destroy(self) -> None:
        """Free the graph; not while it runs."""


class Device(ABC):
    """One GPU. Methods must be called on a thread where it is active, and raise :class:`EngineError`."""

    can_capture: bool
    """Whether :meth:`capture` is supported."""

    def __init__(self, gpu: Gpu) -> None:
        self.index, self.name, self.capability = gpu.index, gpu.name, gpu.capability

    @abstractmethod
    def activate(self) -> contextlib.AbstractContextManager[None]:
        """Make this GPU's primary context current on this thread for the block.

        Afterwards the thread has the context that it had before: a caller's own context, or none. Blocks
        can be nested.
        """

    @abstractmethod
    def allocate(self, nbytes: int) -> int:
        """Allocate memory on the GPU; returns its address."""

    @abstractmethod
    def free(self, pointer: int) -> None: ...

    @abstractmethod
    def allocate_host(self, nbytes: int) -> Bytes:
        """Allocate pinned memory on the host; copies from and to pageable memory are not asynchronous."""

    @abstractmethod
    def free_host(self, array: Bytes) -> None:
        """Free memory of :meth:`allocate_host`; the array must not be used afterwards."""

    @abstractmethod
    def create_stream(self) -> int: ...

    @abstractmethod
    def destroy_stream(self, stream: int) -> None: ...

    @abstractmethod
    def synchronize(self, stream: int) -> None:
        """Wait for all work on the stream, and raise the errors that occurred in it."""

    @abstractmethod
    def copy_to_device(self, pointer: int, array: Array, stream: int) -> None: ...

    @abstractmethod
    def copy_to_host(self, array: Array, pointer: int, stream: int) -> None: ...

    @abstractmethod
    def copy_on_device(self, target: int, source: int, nbytes: int, stream: int) -> None: ...

    @abstractmethod
    def create_event(self) -> Event:
        """An event that orders streams, or measures time."""

    @abstractmethod
    def destroy_event(self, event: Event) -> None: ...

    @abstractmethod
    def record(self, event: Event, stream: int) -> None: ...

    @abstractmethod
    def wait(self, stream: int, event: Event) -> None:
        """Make later work on the stream wait for the event."""

    @abstractmethod
    def milliseconds(self, start: Event, end: Event) -> float:
        """Time between two completed events, on the GPU's clock."""

    @abstractmethod
    def capture(self, stream: int) -> contextlib.AbstractContextManager[CudaGraph]:
        """Record the work enqueued in the block instead of running it; the graph is ready afterwards."""


def cuda_problem() -> str | None:
    """Why no GPU can be used, and what to do about it; None where one can."""
    try:
        return None if devices() else "CUDA finds no GPU"
    except EngineError as error:
        return str(error)


def devices() -> list[Gpu]:
    """The GPUs in CUDA's order; ``CUDA_VISIBLE_DEVICES`` applies. Raises :class:`EngineError`."""
    name, module = _import_binding()
    return _cuda_python_gpus(module) if name == CUDA_PYTHON else _pycuda_gpus(module)


def open_device(index: int) -> Device:
    """The GPU of this index. Raises :class:`EngineError` where there is no such GPU."""
    problem = cuda_problem()
    if problem is not None:
        raise EngineError(f"{problem}; dcc doctor says more")
    found = devices()
    if not 0 <= index < len(found):
        there = f"only cuda:0 to cuda:{len(found) - 1}" if len(found) > 1 else "only cuda:0"
        raise EngineError(f"there is no cuda:{index}: this machine has {there}")
    name, module = _import_binding()
    kind = CudaPythonDevice if name == CUDA_PYTHON else PyCudaDevice
    return kind(found[index], module)


def _import_binding() -> tuple[str, Any]:
    """Name and module of the first binding that can be imported. Raises :class:`EngineError`."""
    reasons = []
    for name in BINDINGS:
        try:
            return name, importlib.import_module(name)
        except ImportError as error:  # also raised if the module is installed and the driver is not
            reasons.append(f"{name}: {error}")
    missing = all("No module named" in reason for reason in reasons)
    raise EngineError(NO_BINDING if missing else f"{NO_BINDING} ({'; '.join(reasons)})")


# cuda-python ------------------------------------------------------------------------------------


OUT_OF_MEMORY = 2
"""Code of this error in both interfaces of CUDA; 0 is success in both."""


def _call(module: Any, name: str, *arguments: Any) -> Any:
    """Results of a CUDA function. cuda-python returns an error code first; it is raised here."""
    error, *results = getattr(module, name)(*arguments)
    if int(error) != 0:
        describe = "cudaGetErrorString" if name.startswith("cuda") else "cuGetErrorString"
        text = getattr(module, describe)(error)[1]
        reason = text.decode() if isinstance(text, bytes) else str(error)
        if int(error) == OUT_OF_MEMORY:
            reason += ": close other programs on the GPU"
        raise EngineError(f"CUDA: {name} failed: {reason}")
    return results[0] if len(results) == 1 else results


def _cuda_python_gpus(runtime: Any) -> list[Gpu]:
    error, count = runtime.cudaGetDeviceCount()
    codes = runtime.cudaError_t
    if error == codes.cudaErrorNoDevice:
        return []
    if error == codes.cudaErrorInsufficientDriver:
        raise EngineError(
            "CUDA finds no NVIDIA driver, or one older than this cuda-python: install or update the driver "
            "(CUDA 13 needs 580 or later; for older ones, pip install 'cuda-python<13')"
        )
    if error != codes.cudaSuccess:
        raise EngineError(f"CUDA does not start ({error.name})")
    gpus = []
    for index in range(count):
        found = _call(runtime, "cudaGetDeviceProperties", index)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        gpus.append(Gpu(index, name, (found.major, found.minor), found.totalGlobalMem))
    return gpus


class CudaPythonDevice(Device):
    can_capture = True

    def __init__(self, gpu: Gpu, runtime: Any) -> None:
        super().__init__(gpu)
        self._runtime = runtime
        self._driver = importlib.import_module(CUDA_PYTHON_DRIVER)
        _call(self._driver, "cuInit", 0)
        # Never released: releasing the last reference frees all memory that anybody has in the context.
        self._context = _call(self._driver, "cuDevicePrimaryCtxRetain", gpu.index)

    def _call(self, name: str, *arguments: Any) -> Any:
        return _call(self._runtime, name, *arguments)

    @contextlib.contextmanager
    def activate(self) -> Iterator[None]:
        # Not cudaSetDevice: it replaces a caller's own context by the primary one, and to set the previous
        # device again creates a context on a GPU that may have had none.
        _call(self._driver, "cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            _call(self._driver, "cuCtxPopCurrent")

    def allocate(self, nbytes: int) -> int:
        return int(self._call("cudaMalloc", nbytes))

    def free(self, pointer: int) -> None:
        self._call("cudaFree", pointer)

    def allocate_host(self, nbytes: int) -> Bytes:
        pointer = int(self._call("cudaMallocHost", nbytes))
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(pointer))

    def free_host(self, array: Bytes) -> None:
        self._call("cudaFreeHost", array.ctypes.data)

    def create_stream(self) -> int:
        return int(self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def synchronize(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def copy_to_device(self, pointer: int, array: Array, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", pointer, array.ctypes.data, array.nbytes, kind, stream)

    def copy_to_host(self, array: Array, pointer: int, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, pointer, array.nbytes, kind, stream)

    def copy_on_device(self, target: int, source: int, nbytes: int, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._call("cudaMemcpyAsync", target, source, nbytes, kind, stream)

    def create_event(self) -> Event:
        return self._call("cudaEventCreateWithFlags", self._runtime.cudaEventDefault)

    def destroy_event(self, event: Event) -> None:
        self._call("cudaEventDestroy", event)

    def record(self, event: Event, stream: int) -> None:
        self._call("cudaEventRecord", event, stream)

    def wait(self, stream: int, event: Event) -> None:
        self._call("cudaStreamWaitEvent", stream, event, 0)

    def milliseconds(self, start: Event, end: Event) -> float:
        return float(self._call("cudaEventElapsedTime", start, end))

    @contextlib.contextmanager
    def capture(self, stream: int) -> Iterator[CudaGraph]:
        # Thread-local, so that other threads can allocate memory meanwhile.
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        captured = _CapturedGraph(self)
        try:
            yield captured
        except BaseException:
            with contextlib.suppress(EngineError):  # the error in the block is the cause
                self._call("cudaGraphDestroy", self._call("cudaStreamEndCapture", stream))
            raise
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            captured.executable = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)


class _CapturedGraph:
    executable: Any = None

    def __init__(self, device: CudaPythonDevice) -> None:
        self._device = device

    def launch(self, stream: int) -> None:
        self._device._call("cudaGraphLaunch", self.executable, stream)

    def destroy(self) -> None:
        self._device._call("cudaGraphExecDestroy", self.executable)


# PyCUDA -----------------------------------------------------------------------------------------


def _pycuda_gpus(driver: Any) -> list[Gpu]:
    try:
        driver.init()
        found = [driver.Device(index) for index in range(driver.Device.count())]
        return [
            Gpu(index, device.name(), tuple(device.compute_capability()), device.total_memory())
            for index, device in enumerate(found)
        ]
    except driver.Error as error:
        raise EngineError(f"CUDA does not start ({error})") from error


class PyCudaDevice(Device):
    """A GPU through PyCUDA: without CUDA graphs, and only with PyCUDA's own streams."""

    can_capture = False

    def __init__(self, gpu: Gpu, driver: Any) -> None:
        super().__init__(gpu)
        self._driver = driver
        with self._errors():
            self._context = driver.Device(gpu.index).retain_primary_context()
        self._memory: dict[int, Any] = {}  # PyCUDA frees an allocation that nothing references
        self._streams: dict[int, Any] = {}

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise EngineError(f"CUDA: {error}") from error

    @contextlib.contextmanager
    def activate(self) -> Iterator[None]:
        with self._errors():
            self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def allocate(self, nbytes: int) -> int:
        with self._errors():
            memory = self._driver.mem_alloc(nbytes)
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, pointer: int) -> None:
        with self._errors():
            self._memory.pop(pointer).free()

    def allocate_host(self, nbytes: int) -> Bytes:
        with self._errors():
            array: Bytes = self._driver.pagelocked_empty(nbytes, np.uint8)
        return array

    def free_host(self, array: Bytes) -> None:
        with self._errors():
            array.base.free()  # type: ignore[union-attr]  # PyCUDA's own object

    def create_stream(self) -> int:
        with self._errors():
            stream = self._driver.Stream()
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        del self._streams[stream]

    def _stream(self, handle: int) -> Any:
        """PyCUDA's object for a stream; None stands for the default stream."""
        if handle in (0, 1):
            return None
        try:
            return self._streams[handle]
        except KeyError:
            raise EngineError(
                "PyCUDA takes no streams of other libraries: pip install cuda-python, which does, or "
                "remove stream="
            ) from None

    def synchronize(self, stream: int) -> None:
        own = self._stream(stream)
        with self._errors():
            self._context.synchronize() if own is None else own.synchronize()

    def copy_to_device(self, pointer: int, array: Array, stream: int) -> None:
        with self._errors():
            self._driver.memcpy_htod_async(pointer, array, self._stream(stream))

    def copy_to_host(self, array: Array, pointer: int, stream: int) -> None:
        with self._errors():
            self._driver.memcpy_dtoh_async(array, pointer, self._stream(stream))

    def copy_on_device(self, target: int, source: int, nbytes: int, stream: int) -> None:
        with self._errors():
            self._driver.memcpy_dtod_async(target, source, nbytes, self._stream(stream))

    def create_event(self) -> Event:
        with self._errors():
            return self._driver.Event()

    def destroy_event(self, event: Event) -> None:
        """Nothing to do: PyCUDA destroys an event with its object."""

    def record(self, event: Event, stream: int) -> None:
        with self._errors():
            event.record(self._stream(stream))

    def wait(self, stream: int, event: Event) -> None:
        own = self._stream(stream)
        with self._errors():
            event.synchronize() if own is None else own.wait_for_event(event)

    def milliseconds(self, start: Event, end: Event) -> float:
        with self._errors():
            return float(end.time_since(start))

    def capture(self, stream: int) -> contextlib.AbstractContextManager[CudaGraph]:
        raise EngineError("PyCUDA captures no CUDA graphs")
