"""Running engines: each worker has its own context and buffers; only matches are copied to the host.

Written against the API listing of TensorRT 11.4 and TensorRT-RTX 1.7, and tested with an emulation of both
that runs the bundle's own graphs. docs/gpu.md says what has run on a GPU.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import EngineError
from dccnet.runtime.tensorrt.library import Library, Messages

CAPTURE_ATTEMPTS = 3
"""Attempts of a worker to capture a CUDA graph of an engine."""
WORKERS = 4
"""Calls that can run on a GPU at once; each of them needs the working memory of both engines."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of an engine, with a batch of one."""

    name: str
    is_input: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Engine:
    """A loaded engine, from which any number of contexts can be created."""

    def __init__(self, library: Library, plan: bytes, title: str) -> None:
        """``title`` names the plan in errors. Raises :class:`EngineError` where the plan does not load."""
        self.library, self.title = library, title
        self.messages = Messages(library.module)
        self._runtime = library.module.Runtime(self.messages.logger)  # must outlive its engines
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(
                f"{library.title} cannot load {title}: {self.messages.reason}; build it again with dcc "
                "build"
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.tensors = {name: self._tensor_info(name) for name in names}

    @property
    def inputs(self) -> list[TensorInfo]:
        return [info for info in self.tensors.values() if info.is_input]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [info for info in self.tensors.values() if not info.is_input]

    def close(self) -> None:
        """Free the weights. Its contexts must be closed before."""
        self._engine = None
        self._runtime = None

    def _tensor_info(self, name: str) -> TensorInfo:
        trt, engine = self.library.module, self._engine
        shape = tuple(1 if side == -1 else int(side) for side in engine.get_tensor_shape(name))
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
        return TensorInfo(name, engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT, shape, dtype)

    def create_context(self) -> Any:
        """An execution context for one worker: threads cannot share contexts.

        Raises :class:`EngineError` where the GPU's memory does not suffice.
        """
        self.messages.errors.clear()  # the reason is an error of now
        if self.library.is_rtx:
            # RTX compiles kernels for the shapes that occur, and captures CUDA graphs by itself.
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = self.library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"{self.library.title} has no memory on the GPU to run {self.title} "
                f"({self.messages.reason}): close other programs there, or build with a smaller --batch"
            )
        return context


class BoundEngine:
    """An engine with a context, device buffers and, if it can be captured, a CUDA graph of its own."""

    def __init__(self, engine: Engine, device: Device, stream: int) -> None:
        """``stream`` is the worker's own, on which every run is enqueued. Raises :class:`EngineError`."""
        self._engine, self._device, self._stream = engine, device, stream
        with contextlib.ExitStack() as undo:
            self.pointers: dict[str, int] = {}
            for name, info in engine.tensors.items():
                self.pointers[name] = device.allocate(info.nbytes)
                undo.callback(device.free, self.pointers[name])
            self._context = engine.create_context()
            self._bind_tensors()
            self._undo = undo.pop_all()
        self._graph: Any = None
        self._has_run = False
        # TensorRT-RTX captures CUDA graphs by itself, see create_context.
        self._attempts_left = CAPTURE_ATTEMPTS if device.can_capture and not engine.library.is_rtx else 0

    def _bind_tensors(self) -> None:
        engine = self._engine
        for name, info in engine.tensors.items():
            if info.is_input and not self._context.set_input_shape(name, info.shape):
                raise EngineError(
                    f"{engine.title} does not take {name} of shape {info.shape}: its profile has no batch "
                    "of one; build it with --batch 1:1:1"
                )
            if not self._context.set_tensor_address(name, self.pointers[name]):
                raise EngineError(
                    f"{engine.library.title} does not take the memory for {name} of {engine.title}: "
                    f"{engine.messages.reason}"
                )

    def run(self, on_failed_capture: Callable[[str], None] = lambda text: None) -> None:
        """Enqueue one run. Raises :class:`EngineError`.

        ``on_failed_capture`` is called with a sentence where the CUDA graph cannot be captured.
        """
        if self._graph is None and self._attempts_left and self._has_run:
            self._capture(on_failed_capture)  # not in the first run: the library still initialises itself
        self._has_run = True
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        self._engine.messages.errors.clear()
        if not self._context.execute_async_v3(self._stream):
            messages = self._engine.messages
            raise EngineError(
                f"{self._engine.library.title} failed in {self._engine.title}: {messages.reason}"
            )

    def _capture(self, on_failure: Callable[[str], None]) -> None:
        self._attempts_left -= 1
        try:
            with self._device.capture(self._stream) as graph:
                self._enqueue()
            self._graph = graph
        except EngineError as error:  # some layers cannot be captured, and other threads can disturb
            advice = "the next run tries again" if self._attempts_left else "it runs without one"
            on_failure(f"{self._engine.title}: no CUDA graph was captured ({error}); {advice}")

    def close(self) -> None:
        if self._graph is not None:
            self._graph.destroy()
        self._context = None
        self._undo.close()


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
        tensor = DeviceTensor(pointer, info.shape, info.dtype)
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


@dataclass(frozen=True, eq=False)  # no slots: the pool holds a weak reference
class DeviceTensor:
    """Features in the memory of a GPU, which other libraries can read without a copy.

    ``cupy.asarray(tensor)`` and ``torch.as_tensor(tensor, device="cuda")`` keep the memory alive. It must
    not be written to: later matches would use what was written.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

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


class Worker:
    """What one call needs for itself: a stream, both engines, and pinned host memory for copies."""

    def __init__(self, encoder: Engine, matcher: Engine, device: Device) -> None:
        with contextlib.ExitStack() as undo:
            self.stream = device.create_stream()
            undo.callback(device.destroy_stream, self.stream)
            self.encoder = BoundEngine(encoder, device, self.stream)
            undo.callback(self.encoder.close)
            self.matcher = BoundEngine(matcher, device, self.stream)
            undo.callback(self.matcher.close)
            self.host: dict[str, Array] = {}
            for info in (*encoder.inputs, *matcher.outputs):
                pinned = device.allocate_host(info.nbytes)
                undo.callback(device.free_host, pinned)
                self.host[info.name] = pinned.view(info.dtype).reshape(info.shape)
            self._undo = undo.pop_all()

    def close(self) -> None:
        self.host.clear()
        self._undo.close()


class WorkerPool:
    """At most :data:`WORKERS` workers, created when they are needed; each serves one call at a time."""

    def __init__(self, encoder: Engine, matcher: Engine, device: Device) -> None:
        self._engines, self._device = (encoder, matcher), device
        self._idle: deque[Worker] = deque()
        self._closed = False
        self._free_places = threading.BoundedSemaphore(WORKERS)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Worker]:
        """A worker for the block; waits while all are in use. The device must be active on this thread.

        The block waits for its own work. Where an exception ends it earlier, that work is waited for here:
        it reads and writes memory that others use afterwards.
        """
        with self._free_places:
            if self._closed:
                raise EngineError("the matcher is closed: open the bundle again")
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = Worker(*self._engines, self._device)
            is_idle = False
            try:
                yield worker
                is_idle = True
            finally:
                if is_idle or self._wait_for(worker):
                    self._idle.append(worker)
                else:
                    # Freeing memory waits for work that uses it. The exception of the block is the cause.
                    with contextlib.suppress(EngineError):
                        worker.close()

    def _wait_for(self, worker: Worker) -> bool:
        """Whether the work on the worker's stream is over and had no errors."""
        try:
            self._device.synchronize(worker.stream)
        except (EngineError, KeyboardInterrupt):  # a second Ctrl-C adds nothing to the first
            return False
        return True

    def close(self) -> None:
        self._closed = True
        with contextlib.ExitStack() as each:  # where one fails, the others are closed all the same
            while self._idle:
                each.callback(self._idle.pop().close)
