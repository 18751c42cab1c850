"""An emulation of cuda-python in host memory, limited to the functions of the real module.

Every call must fit the signature of the real function. Work on a stream runs only when somebody waits for
it: code that reads a result too early reads the previous one, as on a GPU. Addresses are real, so that
fake_tensorrt.py can run engines on them.

Contexts behave as measured on a GPU with cuda-python 13: a new thread has none. ``cudaSetDevice``, and a
call that needs a context where there is none, make the device's primary context current. Calls use whatever
context is current.
"""

from __future__ import annotations

import ctypes
import inspect
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from cuda.bindings import driver as real_driver
from cuda.bindings import runtime as real

Work = Callable[[], None]
OK = real.cudaError_t.cudaSuccess
CODES = real.cudaError_t


FIRST_CONTEXT = 0x100000
"""Handle of the primary context of GPU 0; that of GPU 1 follows."""
WITHOUT_CONTEXT = {
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaGetDevice",
    "cudaSetDevice",
    "cudaGetErrorString",
}
"""Functions that create no context."""


class Properties(NamedTuple):
    name: bytes = b"Emulated GPU"
    major: int = 8
    minor: int = 6
    totalGlobalMem: int = 8 << 30  # noqa: N815  (CUDA's name)


class Wait:
    """Work of a stream that waits for another stream's event."""

    def __init__(self, cuda: FakeCuda, other: int, mark: Work) -> None:
        self._cuda, self._other, self._mark = cuda, other, mark

    def is_over(self) -> bool:
        return self._mark not in self._cuda.streams.get(self._other, [])

    def __call__(self) -> None:
        while not self.is_over():
            self._cuda.streams[self._other].pop(0)()


class FakeCuda:
    """The module, with the state that tests inspect or set."""

    def __init__(self, *gpus: Properties) -> None:
        self.gpus = gpus or (Properties(),)
        self.start: Any = OK
        """Error code of cudaGetDeviceCount."""
        self.fail: dict[str, Any] = {}
        """Error code that a function reports, by its name."""
        self.uses: set[str] = set()
        self.memory: dict[int, Any] = {}
        """Memory on the GPU, by address; empty after everything was freed."""
        self.pinned: dict[int, Any] = {}
        self.contexts: dict[int, int] = {}
        """Device of each context that was created, by the context's handle."""
        self.context_of: dict[int, int] = {}
        """Context in which each allocation and stream was created, by address or handle."""
        self.streams: dict[int, list[Work]] = {0: [], 1: [], 2: []}
        self.graphs: dict[int, list[Work]] = {}
        self.copied = dict.fromkeys(real.cudaMemcpyKind, 0)
        """Bytes by direction."""
        self.launches = 0
        self._events: dict[int, tuple[int, Work] | None] = {}
        self._capturing: dict[int, list[Work]] = {}
        self._next = 1000
        self._lock = threading.RLock()
        self._thread = threading.local()
        self.module = self._module()
        self.driver = self._driver()

    def _module(self) -> Any:
        module: Any = ModuleType("cuda.bindings.runtime")
        for name in ("cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode"):
            setattr(module, name, getattr(real, name))
        for name in ("cudaStreamNonBlocking", "cudaEventDefault"):
            setattr(module, name, getattr(real, name))
        for name in dir(type(self)):
            if name.startswith("cuda"):
                setattr(module, name, self._listed(name, real, OK))
        return module

    def _driver(self) -> Any:
        module: Any = ModuleType("cuda.bindings.driver")
        module.CUresult = real_driver.CUresult
        for name in dir(type(self)):
            if name.startswith("cu") and not name.startswith("cuda") and name[2].isupper():
                setattr(module, name, self._listed(name, real_driver, real_driver.CUresult.CUDA_SUCCESS))
        return module

    def _listed(self, name: str, module: Any, success: Any) -> Callable[..., Any]:
        signature = inspect.signature(getattr(module, name))

        def call(*arguments: Any) -> Any:
            signature.bind(*arguments)  # raises TypeError, as the real one does
            self.uses.add(name)
            if name in self.fail:
                return self.fail[name], *[None] * 3
            with self._lock:
                if name.startswith("cuda") and name not in WITHOUT_CONTEXT:
                    self._need_context()
                result = getattr(self, name)(*arguments)
            if result is None:
                return (success,)
            return (success, result) if not isinstance(result, tuple) else result

        return call

    def enqueue(self, stream: int, work: Work) -> None:
        """Queue work until the stream is waited for, or record it while the stream is captured."""
        assert self.context_of.get(stream, self.current()) == self.current(), "a stream of another context"
        with self._lock:
            self._capturing.get(stream, self.streams[stream]).append(work)

    def drain(self, stream: int) -> None:
        """Run the queued work."""
        while self.streams[stream]:
            self.streams[stream].pop(0)()

    def _handle(self) -> int:
        self._next += 1
        return self._next

    # Contexts

    @property
    def _stack(self) -> list[int]:
        """Contexts of this thread; the last one is current, 0 stands for none."""
        if not hasattr(self._thread, "stack"):
            self._thread.stack = []
        found: list[int] = self._thread.stack
        return found

    def primary(self, device: int) -> int:
        """The device's primary context, which is created by the first call."""
        assert 0 <= device < len(self.gpus)
        self.contexts[FIRST_CONTEXT + device] = device
        return FIRST_CONTEXT + device

    def create_context(self, device: int) -> int:
        """A context of the caller's own; not made current here."""
        context = self._handle()
        self.contexts[context] = device
        return context

    def current(self) -> int:
        """The context that is current on this thread, 0 for none."""
        return self._stack[-1] if self._stack else 0

    def make_current(self, context: int) -> None:
        """Replace the current context, as cudaSetDevice and cuCtxSetCurrent do."""
        self._stack[-1:] = [context]

    def _need_context(self) -> None:
        if self.current() == 0:
            self.make_current(self.primary(self.cudaGetDevice()))

    def cuInit(self, flags: int) -> None:  # noqa: N802  (CUDA's names, here and below)
        assert flags == 0

    def cuDevicePrimaryCtxRetain(self, device: int) -> int:  # noqa: N802
        return self.primary(device)

    def cuCtxPushCurrent(self, context: int) -> None:  # noqa: N802
        assert context in self.contexts
        self._stack.append(context)

    def cuCtxPopCurrent(self) -> int:  # noqa: N802
        return self._stack.pop()

    def cuGetErrorString(self, error: Any) -> bytes:  # noqa: N802
        return str(error.name).encode()

    # Devices

    def cudaGetDeviceCount(self) -> Any:  # noqa: N802
        return self.start, len(self.gpus) if self.start == OK else None

    def cudaGetDeviceProperties(self, device: int) -> Any:  # noqa: N802
        return OK, self.gpus[device]

    def cudaGetDevice(self) -> int:  # noqa: N802
        return self.contexts[self.current()] if self.current() else getattr(self._thread, "device", 0)

    def cudaSetDevice(self, device: int) -> None:  # noqa: N802
        self._thread.device = device
        self.make_current(self.primary(device))

    def cudaGetErrorString(self, error: Any) -> bytes:  # noqa: N802
        return str(error.name).encode()

    # Memory

    def cudaMalloc(self, size: int) -> int:  # noqa: N802
        buffer = (ctypes.c_uint8 * size)()
        self.memory[ctypes.addressof(buffer)] = buffer
        self.context_of[ctypes.addressof(buffer)] = self.current()
        return ctypes.addressof(buffer)

    def cudaFree(self, pointer: int) -> None:  # noqa: N802
        self._drain_all()
        del self.memory[pointer]

    def _drain_all(self) -> None:
        """Freeing memory waits for all work, as on a GPU."""
        for stream in self.streams:
            self.drain(stream)

    def cudaMallocHost(self, size: int) -> int:  # noqa: N802
        buffer = (ctypes.c_uint8 * size)()
        self.pinned[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def cudaFreeHost(self, pointer: int) -> None:  # noqa: N802
        self._drain_all()
        del self.pinned[pointer]

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: int) -> None:  # noqa: N802
        kinds = real.cudaMemcpyKind
        if kind != kinds.cudaMemcpyHostToDevice:
            self._check(src, count)
        if kind != kinds.cudaMemcpyDeviceToHost:
            self._check(dst, count)
        self.copied[kind] += count
        self.enqueue(stream, lambda: ctypes.memmove(dst, src, count) and None)

    def _check(self, pointer: int, count: int) -> None:
        inside = any(
            start <= pointer and pointer + count <= start + len(b) for start, b in self.memory.items()
        )
        assert inside, "not memory of the GPU"

    # Streams and events

    def cudaStreamCreateWithFlags(self, flags: int) -> int:  # noqa: N802
        assert flags == real.cudaStreamNonBlocking
        stream = self._handle()
        self.streams[stream] = []
        self.context_of[stream] = self.current()
        return stream

    def cudaStreamDestroy(self, stream: int) -> None:  # noqa: N802
        left = self.streams.pop(stream)
        done = all(isinstance(work, Wait) and work.is_over() for work in left)
        assert done, "work was left on the stream"

    def cudaStreamSynchronize(self, stream: int) -> None:  # noqa: N802
        self.drain(stream)

    def cudaEventCreateWithFlags(self, flags: int) -> int:  # noqa: N802
        event = self._handle()
        self._events[event] = None
        return event

    def cudaEventDestroy(self, event: int) -> None:  # noqa: N802
        del self._events[event]

    def cudaEventRecord(self, event: int, stream: int) -> None:  # noqa: N802
        def mark() -> None:
            """Marks the event's place in the queue."""

        self._events[event] = stream, mark
        self.enqueue(stream, mark)

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:  # noqa: N802
        recorded = self._events[event]
        assert recorded is not None and flags == 0
        self.enqueue(stream, Wait(self, *recorded))

    def cudaEventElapsedTime(self, start: int, end: int) -> float:  # noqa: N802
        return 1.5

    # Graphs

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> Any:  # noqa: N802
        if stream < 3:
            return (CODES.cudaErrorStreamCaptureUnsupported,)
        assert mode == real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._capturing[stream] = []
        return None

    def cudaStreamEndCapture(self, stream: int) -> int:  # noqa: N802
        graph = self._handle()
        self.graphs[graph] = self._capturing.pop(stream)
        return graph

    def cudaGraphInstantiate(self, graph: int, flags: int) -> int:  # noqa: N802
        executable = self._handle()
        self.graphs[executable] = list(self.graphs[graph])
        return executable

    def cudaGraphDestroy(self, graph: int) -> None:  # noqa: N802
        del self.graphs[graph]

    def cudaGraphExecDestroy(self, executable: int) -> None:  # noqa: N802
        del self.graphs[executable]

    def cudaGraphLaunch(self, executable: int, stream: int) -> None:  # noqa: N802
        self.launches += 1
        for work in self.graphs[executable]:
            self.enqueue(stream, work)
