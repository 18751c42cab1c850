"""The backend that runs engines: from the bundle, from the cache, or built on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors, matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device, open_device
from dccnet.runtime.device_arrays import DeviceView, check_frame
from dccnet.runtime.errors import DccError, EngineError
from dccnet.runtime.extras import install
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.tensorrt.builder import BuildSettings, build_engine
from dccnet.runtime.tensorrt.cache import engine_folder
from dccnet.runtime.tensorrt.library import RTX_TARGETS, Library, installed_libraries
from dccnet.runtime.tensorrt.plan import check_loadable, read_plan, sidecar_path, write_engine
from dccnet.runtime.tensorrt.runner import BufferPool, DeviceTensor, Engine, WorkerPool

Note = Callable[[str], None]


class TensorRTBackend:
    """Both graphs as engines on one GPU; features stay on it."""

    def __init__(self, library: Library, device: Device, encoder: Engine, matcher: Engine) -> None:
        self.description = f"{library.title} on cuda:{device.index} ({device.name})"
        self._device, self._encoder = device, encoder
        self._workers = WorkerPool(encoder, matcher, device)
        self._pool = BufferPool(device)
        (self._frame,) = encoder.inputs
        self._features, self._results = encoder.outputs, matcher.outputs

    @classmethod
    def open(cls, bundle: Bundle, index: int = 0, *, trust: bool = False, on_note: Note) -> TensorRTBackend:
        """Open the bundle on GPU ``index``, with the first library that has or can build engines for it.

        ``trust`` loads engines in the bundle that have no sidecar. ``on_note`` is called when engines are
        built or passed over. Raises :class:`EngineError`.
        """
        device = open_device(index)
        libraries = installed_libraries()
        if not libraries:
            raise EngineError(
                f"no engine library is installed: {install('gpu')} for TensorRT, or {install('rtx')} for "
                "TensorRT-RTX"
            )
        with device.activate():
            for library in libraries:
                plans = _find_plans(bundle, library, device, trust, on_note)
                if plans is not None:
                    return cls._load(library, device, plans)
            return cls._build(bundle, libraries, device, on_note)

    @classmethod
    def _load(
        cls, library: Library, device: Device, plans: Sequence[tuple[Path, bytes]]
    ) -> TensorRTBackend:
        encoder, matcher = (Engine(library, content, str(path)) for path, content in plans)
        return cls(library, device, encoder, matcher)

    @classmethod
    def _build(
        cls, bundle: Bundle, libraries: Sequence[Library], device: Device, on_note: Note
    ) -> TensorRTBackend:
        problems = []
        for library in libraries:
            on_note(f"building engines with {library.title} for {device.name}; this is done once")
            try:
                plans = [build_into_cache(bundle, name, library, device) for name in (ENCODER, MATCHER)]
                return cls._load(library, device, [(path, path.read_bytes()) for path in plans])
            except DccError as error:
                problems.append(str(error))
        raise EngineError("; ".join(problems))

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        """Features of a frame, a :class:`DeviceTensor` for each branch. Raises :class:`EngineError`."""
        device = self._device
        if isinstance(frame, DeviceView):
            _, height, width, _ = self._frame.shape
            check_frame(frame, (height, width), device.index)
        with device.activate(), self._workers.borrow() as worker:
            used = worker.stream if stream is None else stream
            target = worker.encoder.pointers[self._frame.name]
            if isinstance(frame, DeviceView):
                _wait_for_owner(device, frame, used)
                device.copy_on_device(target, frame.pointer, self._frame.nbytes, used)
            else:
                np.copyto(worker.host[self._frame.name][0], frame)
                device.copy_to_device(target, worker.host[self._frame.name], used)
            worker.encoder.run(used)
            features = {info.name: self._pool.allocate(info) for info in self._features}
            for info in self._features:
                source = worker.encoder.pointers[info.name]
                device.copy_on_device(features[info.name].pointer, source, info.nbytes, used)
            device.synchronize(used)
        return features

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        """Outputs of the matcher, on the host. Raises :class:`EngineError`."""
        device, inputs = self._device, matcher_inputs(a, b)
        with device.activate(), self._workers.borrow() as worker:
            used = worker.stream if stream is None else stream
            for name, tensor in inputs.items():
                if not isinstance(tensor, DeviceTensor):
                    raise EngineError("these features were encoded by another backend: encode them again")
                nbytes = tensor.dtype.itemsize * int(np.prod(tensor.shape))
                device.copy_on_device(worker.matcher.pointers[name], tensor.pointer, nbytes, used)
            worker.matcher.run(used)
            for info in self._results:
                device.copy_to_host(worker.host[info.name], worker.matcher.pointers[info.name], used)
            device.synchronize(used)
            return {info.name: worker.host[info.name][0].copy() for info in self._results}

    def close(self) -> None:
        """Free the GPU's memory; not while another thread encodes or matches."""
        with self._device.activate():
            self._workers.close()
            self._pool.close()


def build_into_cache(bundle: Bundle, name: str, library: Library, device: Device) -> Path:
    """Build the bundle's graph ``name`` for this GPU, into the cache; returns the path of its plan."""
    settings = default_settings(library, device)
    graph = bundle.manifest.graphs[name]
    engine = build_engine(library, name, graph, bundle.graph_path(name), settings)
    return write_engine(engine, engine_folder(graph, library, settings, _gpu_title(device)))


def default_settings(library: Library, device: Device) -> BuildSettings:
    """Settings for one picture at a time on this GPU."""
    target = "sm{}{}".format(*device.capability)
    return BuildSettings(targets=(target,) if library.is_rtx and target in RTX_TARGETS else ())


def _find_plans(
    bundle: Bundle, library: Library, device: Device, trust: bool, on_note: Note
) -> list[tuple[Path, bytes]] | None:
    """Both plans, from the bundle or else from the cache; None where one is missing or does not fit."""
    in_bundle = [bundle.path / library.engine_file(name) for name in (ENCODER, MATCHER)]
    settings = default_settings(library, device)
    in_cache = [
        engine_folder(bundle.manifest.graphs[name], library, settings, _gpu_title(device)) / path.name
        for name, path in zip((ENCODER, MATCHER), in_bundle, strict=True)
    ]
    for paths in (in_bundle, in_cache):
        if not all(path.exists() for path in paths):
            continue
        try:
            plans = []
            for name, path in zip((ENCODER, MATCHER), paths, strict=True):
                content, record = read_plan(path, trust=trust)
                check_loadable(path, record, content, library, device.capability)
                if record is not None and record.onnx_sha256 != bundle.manifest.graphs[name].sha256:
                    raise EngineError(f"{path} was built from another {name}: run dcc build again")
                plans.append((path, content))
            return plans
        except EngineError as error:
            if not sidecar_path(paths[0]).exists():
                raise  # a plan without sidecar needs the user's decision: it is not replaced silently
            on_note(f"passed over: {error}")
    return None


def _gpu_title(device: Device) -> str:
    return "{} sm{}{}".format(device.name, *device.capability)


def _wait_for_owner(device: Device, view: DeviceView, stream: int) -> None:
    """Make ``stream`` wait for the pending work on the stream of the array's owner."""
    if view.stream is None or view.stream == stream:
        return
    event = device.create_event()
    try:
        device.record(event, view.stream)
        device.wait(stream, event)
    finally:
        device.destroy_event(event)
