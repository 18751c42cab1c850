"""The backend that runs engines: from the bundle, from the cache, or built on first use."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors, matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device, open_device
from dccnet.runtime.device_arrays import check_frame, device_view
from dccnet.runtime.device_tensor import DeviceTensor, require_on_gpu
from dccnet.runtime.errors import EngineError
from dccnet.runtime.manifest import ENCODER, FINE, MATCHER
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.tensorrt.memory import BufferPool
from dccnet.runtime.tensorrt.opening import open_engines
from dccnet.runtime.tensorrt.runner import Engine
from dccnet.runtime.tensorrt.workers import Worker, WorkerPool

_Item = TypeVar("_Item")


class TensorRTBackend:
    """Both graphs as engines on one GPU; features stay on it. Closes itself when it is collected."""

    def __init__(
        self,
        library: Library,
        device: Device,
        encoder: Engine,
        matcher: Engine,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """The engines belong to the backend. ``on_note`` is called when a CUDA graph is not captured."""
        self._title = f"{library.title} on cuda:{device.index} ({device.name})"
        self._on_note = on_note
        self._failed_captures: list[str] = []
        self._device = device
        self._encoder, self._matcher = encoder, matcher
        self._workers = WorkerPool(encoder, matcher, device)
        self._pool = BufferPool(device)
        (self._frame,) = encoder.inputs
        self._release = weakref.finalize(
            self, _release, device, self._workers, self._pool, encoder, matcher
        )
        self._release.atexit = False  # the end of the process frees everything

    @property
    def description(self) -> str:
        """Library and GPU, and how often a CUDA graph was not captured: runs without one take longer."""
        failed = len(self._failed_captures)
        return f"{self._title}, {failed} failed CUDA graph captures" if failed else self._title

    def _note_failed_capture(self, text: str) -> None:
        if text not in self._failed_captures:  # another worker's was the same
            self._on_note(text)
        self._failed_captures.append(text)

    @classmethod
    def open(
        cls, bundle: Bundle, index: int = 0, *, trust: bool = False, on_note: Callable[[str], None]
    ) -> TensorRTBackend:
        """Open the bundle on GPU ``index``, with the first library that has or can build engines for it.

        ``trust`` loads engines in the bundle that its manifest does not name. ``on_note`` is called when
        engines are built or passed over, and when a CUDA graph is not captured.

        Raises :class:`EngineError`.
        """
        device = open_device(index)
        with device.activate():
            library, encoder, matcher = open_engines(bundle, device, trust=trust, on_note=on_note)
            return cls(library, device, encoder, matcher, on_note)

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        """Features of a frame, a :class:`DeviceTensor` for each branch; fine features on the host.

        Raises :class:`EngineError`, and :class:`ImageError` for an array on the GPU that is no such frame.
        """
        return self._encode([frame], stream)[0]

    def encode_many(self, frames: Sequence[Any]) -> list[Tensors]:
        """Features of each frame, in runs of as many as the engine takes at once."""
        groups = _groups(frames, self._encoder.largest_batch)
        return [features for group in groups for features in self._encode(group, None)]

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        """Outputs of the matcher, on the host. Raises :class:`EngineError`."""
        return self._match([(a, b)], stream)[0]

    def match_many(self, pairs: Sequence[tuple[Tensors, Tensors]]) -> list[dict[str, Array]]:
        """Outputs for each pair, in runs of as many as the engine takes at once."""
        groups = _groups(pairs, self._matcher.largest_batch)
        return [outputs for group in groups for outputs in self._match(group, None)]

    def _encode(self, frames: Sequence[Any], stream: int | None) -> list[Tensors]:
        device = self._device
        with device.activate(), self._workers.borrow() as worker:
            bound, used = worker.encoder, worker.stream
            bound.prepare(len(frames))
            _make_wait(device, used, stream)
            for i, frame in enumerate(frames):
                self._send(frame, i, worker)
            bound.run(self._note_failed_capture)
            found: list[Tensors] = []
            for i in range(len(frames)):
                features: dict[str, Any] = {}
                for info in self._encoder.outputs:
                    source = bound.pointers[info.name] + i * info.nbytes
                    if info.name == FINE:  # only the host needs them
                        features[FINE] = np.empty(info.shape, info.dtype)
                        device.copy_to_host(features[FINE], source, used)
                        continue
                    features[info.name] = self._pool.allocate(info)
                    device.copy_on_device(features[info.name].pointer, source, info.nbytes, used)
                found.append(features)
            _make_wait(device, stream, used)
            device.synchronize(used)
            self._encoder.keep_kernels()
        return found

    def _send(self, frame: Any, number: int, worker: Worker) -> None:
        """Copy a frame to its place in the encoder's batch."""
        device, info, used = self._device, self._frame, worker.stream
        target = worker.encoder.pointers[info.name] + number * info.nbytes
        view = device_view(frame, device.index)
        if view is None:
            pinned = worker.encoder.host[info.name][number]
            np.copyto(pinned, frame)
            device.copy_to_device(target, pinned, used)
            return
        _, height, width, _ = info.shape
        check_frame(view, (height, width), info.dtype.name)
        _make_wait(device, used, view.stream)
        device.copy_on_device(target, view.pointer, info.nbytes, used)

    def _match(
        self, pairs: Sequence[tuple[Tensors, Tensors]], stream: int | None
    ) -> list[dict[str, Array]]:
        device = self._device
        with device.activate(), self._workers.borrow() as worker:
            bound, used = worker.matcher, worker.stream
            bound.prepare(len(pairs))
            _make_wait(device, used, stream)
            for i, (a, b) in enumerate(pairs):
                for name, tensor in self._inputs(a, b).items():
                    target = bound.pointers[name] + i * tensor.nbytes
                    device.copy_on_device(target, tensor.pointer, tensor.nbytes, used)
            bound.run(self._note_failed_capture)
            for info in self._matcher.outputs:
                results = bound.host[info.name][: len(pairs)]
                device.copy_to_host(results, bound.pointers[info.name], used)
            _make_wait(device, stream, used)
            device.synchronize(used)
            self._matcher.keep_kernels()
            return [
                {info.name: bound.host[info.name][i].copy() for info in self._matcher.outputs}
                for i in range(len(pairs))
            ]

    def _inputs(self, a: Tensors, b: Tensors) -> dict[str, DeviceTensor]:
        """The matcher's inputs by name. Raises :class:`EngineError` for features of another network."""
        found = require_on_gpu(matcher_inputs(a, b), self._device.index)
        wanted = {info.name: (info.shape, info.dtype) for info in self._matcher.inputs}
        if {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} != wanted:
            raise EngineError("these features were encoded by another network: encode them again with this")
        return found

    def gpu_milliseconds(self, repeats: int = 20) -> dict[str, float]:
        """Time of one run of each engine on the GPU: the mean of ``repeats`` runs without a pause.

        Neither copies nor the host's work are part of it. Raises :class:`EngineError`.
        """
        with self._device.activate(), self._workers.borrow() as worker:
            steps = {ENCODER: worker.encoder, MATCHER: worker.matcher}
            for bound in steps.values():
                bound.prepare(1)
            return {name: bound.milliseconds(repeats) for name, bound in steps.items()}

    def close(self) -> None:
        """Free the GPU's memory, the engines' weights included; not while another thread uses the backend.

        Features keep their memory until they are collected. Calling this again does nothing.
        """
        self._release()


def _release(device: Device, workers: WorkerPool, pool: BufferPool, *engines: Engine) -> None:
    with device.activate(), contextlib.ExitStack() as each:  # where one fails, the others are closed
        for engine in engines:
            each.callback(engine.close)
        each.callback(pool.close)
        each.callback(workers.close)  # the last in is the first out


def _groups(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _make_wait(device: Device, stream: int | None, other: int | None) -> None:
    """Make later work on ``stream`` wait for the work that is now on ``other``; None: there is no stream.

    Work runs on a worker's own stream only: the caller's may be the default stream, which waits for all
    other streams and cannot be captured.
    """
    if stream is None or other is None:
        return
    event = device.create_event()
    try:
        device.record(event, other)
        device.wait(stream, event)
    finally:
        device.destroy_event(event)
