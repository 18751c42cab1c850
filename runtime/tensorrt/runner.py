"""Running engines: an execution context with memory for its inputs and outputs, and its CUDA graph.

Written against the API listings of TensorRT 10.3, 10.16 and 11.4, and TensorRT-RTX 1.7, and tested with an
emulation of each that runs the bundle's own graphs. docs/gpu.md says what has run on a GPU.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import EngineError
from dccnet.runtime.tensorrt.library import Library, Messages
from dccnet.runtime.tensorrt.runtime_cache import RuntimeCache

CAPTURE_ATTEMPTS = 3
"""Attempts of a worker to capture a CUDA graph of an engine."""


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
        self.cache: RuntimeCache | None = None
        """Keeps the kernels that TensorRT-RTX compiles."""
        self._runtime = library.module.Runtime(self.messages.logger)  # must outlive its engines
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(
                f"{library.title} cannot load {title}: {self.messages.reason}; build it again with dcc "
                "build"
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.tensors = {name: self._tensor_info(name) for name in names}
        self.largest_batch = min(
            int(self._engine.get_tensor_profile_shape(info.name, 0)[2][0]) for info in self.inputs
        )
        """Pictures (or pairs) that one run can take."""

    @property
    def inputs(self) -> list[TensorInfo]:
        return [info for info in self.tensors.values() if info.is_input]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [info for info in self.tensors.values() if not info.is_input]

    def close(self) -> None:
        """Free the weights. Its contexts must be closed before."""
        if self.cache is not None:
            self.cache.close()
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
            config = self.create_runtime_config()
            config.cuda_graph_strategy = self.library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            if self.cache is not None:
                self.cache.attach(config)
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"{self.library.title} has no memory on the GPU to run {self.title} "
                f"({self.messages.reason}): close other programs there, or build with a smaller --batch"
            )
        return context

    def create_runtime_config(self) -> Any:
        """TensorRT-RTX: settings of contexts, which also create the cache of kernels."""
        return self._engine.create_runtime_config()

    def keep_kernels(self) -> None:
        """Keep what TensorRT-RTX compiled so far, for other processes; call it after a run."""
        if self.cache is not None:
            self.cache.save()


class BoundEngine:
    """An engine with a context, memory and, if it can be captured, a CUDA graph of its own.

    The memory suffices for the largest batch that occurred so far.
    """

    def __init__(
        self, engine: Engine, device: Device, stream: int, on_host: Sequence[TensorInfo] = ()
    ) -> None:
        """``stream`` is the worker's own, on which every run is enqueued.

        ``on_host`` are the tensors that also have pinned memory on the host. Raises :class:`EngineError`.
        """
        self._engine, self._device, self._stream = engine, device, stream
        self._on_host = tuple(on_host)
        self._memory = contextlib.ExitStack()
        self.pointers: dict[str, int] = {}
        """Address on the GPU of each tensor, for a whole batch."""
        self.host: dict[str, Array] = {}
        """Pinned memory ``(B, …)`` of the tensors ``on_host``."""
        self._graph: Any = None
        self._context: Any = None
        self._capacity = self._count = 0
        self._has_run = False
        self._attempts_left = 0
        try:
            self._allocate(1)
            self._context = engine.create_context()
            self.prepare(1)
        except BaseException:
            self.close()
            raise

    def prepare(self, count: int) -> None:
        """Make the next runs take ``count`` pictures (or pairs). Raises :class:`EngineError`.

        What was in the memory is gone if the number is larger than before. No work may be in flight.
        """
        if count == self._count:
            return
        # A graph must not be replayed after its context has changed.
        self._drop_graph()
        self._count = 0
        if count > self._capacity:
            self._allocate(count)
        self._bind_tensors(count)
        self._count = count
        # TensorRT-RTX captures CUDA graphs by itself, see create_context.
        can_capture = self._device.can_capture and not self._engine.library.is_rtx
        self._attempts_left = CAPTURE_ATTEMPTS if can_capture else 0

    def _allocate(self, count: int) -> None:
        self._free_memory()
        with contextlib.ExitStack() as undo:
            for name, info in self._engine.tensors.items():
                self.pointers[name] = self._device.allocate(count * info.nbytes)
                undo.callback(self._device.free, self.pointers[name])
            for info in self._on_host:
                pinned = self._device.allocate_host(count * info.nbytes)
                undo.callback(self._device.free_host, pinned)
                self.host[info.name] = pinned.view(info.dtype).reshape(count, *info.shape[1:])
            self._memory = undo.pop_all()
        self._capacity = count

    def _free_memory(self) -> None:
        self._capacity = self._count = 0
        self.host.clear()
        self._memory.close()

    def _bind_tensors(self, count: int) -> None:
        engine = self._engine
        for name, info in engine.tensors.items():
            shape = (count, *info.shape[1:])
            if info.is_input and not self._context.set_input_shape(name, shape):
                number = "one" if count == 1 else str(count)
                raise EngineError(
                    f"{engine.title} does not take {name} of shape {shape}: its profile has no batch of "
                    f"{number}; build it with --batch 1:1:{count}"
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

    def milliseconds(self, repeats: int) -> float:
        """Mean time of a run on the GPU's clock: ``repeats`` runs, one after the other, between two events.

        The inputs are what is in the memory. Raises :class:`EngineError`.
        """
        for _ in range(3):  # the second run is captured
            self.run()
        device = self._device
        start, end = device.create_event(), device.create_event()
        try:
            device.synchronize(self._stream)
            device.record(start, self._stream)
            for _ in range(repeats):
                self.run()
            device.record(end, self._stream)
            device.synchronize(self._stream)
            return device.milliseconds(start, end) / repeats
        finally:
            device.destroy_event(start)
            device.destroy_event(end)

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

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.destroy()
        self._graph, self._has_run = None, False

    def close(self) -> None:
        self._drop_graph()
        self._context = None
        self._free_memory()
