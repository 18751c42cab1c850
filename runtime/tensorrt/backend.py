"""The backend that runs engines: from the bundle, from the cache, or built on first use."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors, matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device, open_device
from dccnet.runtime.device_arrays import check_frame, device_view
from dccnet.runtime.errors import EngineError
from dccnet.runtime.manifest import FINE
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.tensorrt.opening import open_engines
from dccnet.runtime.tensorrt.runner import BufferPool, DeviceTensor, Engine, WorkerPool


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
        self._workers = WorkerPool(encoder, matcher, device)
        self._pool = BufferPool(device)
        (self._frame,) = encoder.inputs
        self._features, self._results = encoder.outputs, matcher.outputs
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
        device = self._device
        with device.activate(), self._workers.borrow() as worker:
            view = device_view(frame, device.index)
            used = worker.stream
            _make_wait(device, used, stream)
            target = worker.encoder.pointers[self._frame.name]
            if view is not None:
                _, height, width, _ = self._frame.shape
                check_frame(view, (height, width), self._frame.dtype.name)
                _make_wait(device, used, view.stream)
                device.copy_on_device(target, view.pointer, self._frame.nbytes, used)
            else:
                np.copyto(worker.host[self._frame.name][0], frame)
                device.copy_to_device(target, worker.host[self._frame.name], used)
            worker.encoder.run(self._note_failed_capture)
            features: dict[str, Any] = {}
            for info in self._features:
                source = worker.encoder.pointers[info.name]
                if info.name == FINE:  # only the host needs them
                    features[FINE] = np.empty(info.shape, info.dtype)
                    device.copy_to_host(features[FINE], source, used)
                    continue
                features[info.name] = self._pool.allocate(info)
                device.copy_on_device(features[info.name].pointer, source, info.nbytes, used)
            _make_wait(device, stream, used)
            device.synchronize(used)
        return features

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        """Outputs of the matcher, on the host. Raises :class:`EngineError`."""
        device, inputs = self._device, matcher_inputs(a, b)
        with device.activate(), self._workers.borrow() as worker:
            used = worker.stream
            _make_wait(device, used, stream)
            for name, tensor in inputs.items():
                if not isinstance(tensor, DeviceTensor):
                    raise EngineError("these features were encoded by another backend: encode them again")
                nbytes = tensor.dtype.itemsize * int(np.prod(tensor.shape))
                device.copy_on_device(worker.matcher.pointers[name], tensor.pointer, nbytes, used)
            worker.matcher.run(self._note_failed_capture)
            for info in self._results:
                device.copy_to_host(worker.host[info.name], worker.matcher.pointers[info.name], used)
            _make_wait(device, stream, used)
            device.synchronize(used)
            return {info.name: worker.host[info.name][0].copy() for info in self._results}

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
