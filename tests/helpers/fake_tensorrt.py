"""An emulation of TensorRT, limited to the members in a listing of its API; engines compute real results.

Members that are not listed do not exist, calls must fit a listed signature, read-only properties cannot be
set. Each use is recorded, so that a test can check the same uses with the real TensorRT-RTX. An "engine"
names the ONNX file that it was built from, and runs it with ONNX Runtime in memory that the emulation of
CUDA allocated (fake_cuda.py).
"""

from __future__ import annotations

import ctypes
import enum
import json
import weakref
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.helpers.tensorrt_api import LISTINGS, Member, read_api

APIS = {version: read_api(path) for version, path in LISTINGS.items()}
MAGIC = b"fake plan "
DTYPES = {"float32": "FLOAT", "float16": "HALF", "uint8": "UINT8", "int64": "INT64"}
RTX_ONLY: dict[str, dict[str, Member]] = {
    "IBuilderConfig": {
        "num_compute_capabilities": Member("property"),
        "set_compute_capability": Member("callable"),
    },
    "IRuntimeConfig": {
        "cuda_graph_strategy": Member("property"),
        "create_runtime_cache": Member("callable"),
        "set_runtime_cache": Member("callable"),
    },
    "IRuntimeCache": {"serialize": Member("callable"), "deserialize": Member("callable")},
}
"""Members that only TensorRT-RTX has; a test checks them with the library itself."""

Uses = set[tuple[str, str, int]]
"""(class, member, number of arguments; -1 for a property)"""


class FakeTensorRT:
    """The module, with the state that tests inspect or set."""

    def __init__(self, name: str = "tensorrt", version: str = "11.4.0.106") -> None:
        self.uses: Uses = set()
        self.has_gpu = True
        self.enqueue: Callable[[int, Callable[[], None]], None] = lambda stream, work: work()
        """Enqueues work on a stream; the emulation of CUDA replaces it."""
        self.current_gpu: Callable[[], int] = lambda: 0
        """GPU of the calling thread; the emulation of CUDA replaces it, and ``gpu_name``."""
        self.gpu_name: Callable[[int], str] = lambda index: "Emulated GPU"
        self.used_gpus: dict[str, set[int]] = {}
        """GPUs that were current in ``build_serialized_network`` and ``deserialize_cuda_engine``."""
        self.fail: set[str] = set()
        """Methods that report failure, such as ``execute_async_v3``."""
        self.layers: list[dict[str, Any]] | None = None
        """Layers that the inspector reports; None: derived from the types in the graph."""
        self.distort: Callable[[str, Any], Any] = lambda name, value: value
        """Changes an output of every engine, by its name."""
        self.contexts = 0
        self.compiled = 0
        """Kernels that contexts of TensorRT-RTX compiled because their cache did not have them."""
        self.engines: weakref.WeakSet[Any] = weakref.WeakSet()
        """Engines that are loaded, which keep their weights on the GPU."""
        self.module = _module(self, name, version)

    def note_gpu(self, method: str) -> None:
        self.used_gpus.setdefault(method, set()).add(self.current_gpu())


def _module(fake: FakeTensorRT, name: str, version: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)  # PyTorch reads it
    module.__version__ = version  # type: ignore[attr-defined]
    rtx = name == "tensorrt_rtx"
    api = APIS["11.4" if rtx else ".".join(version.split(".")[:2])]
    for title, members in api.enums.items():
        setattr(module, title, enum.IntEnum(title, members))
    if rtx:
        capabilities = ["NONE", "SM75", "SM80", "SM86", "SM89", "SM120", "SM121", "CURRENT"]
        module.ComputeCapability = enum.Enum("ComputeCapability", capabilities)  # type: ignore[attr-defined]
        module.CudaGraphStrategy = enum.Enum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])  # type: ignore[attr-defined]
    classes = {}
    for title in (*api.classes, *(set(RTX_ONLY) - set(api.classes) if rtx else ())):
        known = api.classes.get(title, {}) | (RTX_ONLY.get(title, {}) if rtx else {})
        behaviour = BEHAVIOURS.get(title, object)
        classes[title] = _listed(title, known, behaviour, fake, module)
        setattr(module, title, classes[title])
    module.nptype = lambda dtype: np.dtype(next(n for n, d in DTYPES.items() if d == dtype.name))  # type: ignore[attr-defined]
    return module


def _listed(
    title: str, members: dict[str, Member], behaviour: type, fake: FakeTensorRT, module: ModuleType
) -> type:
    """``behaviour``, limited to the listed members; every use is recorded."""

    class Listed(behaviour):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("_") or name in ("fake", "trt"):
                return object.__getattribute__(self, name)
            member = members.get(name)
            own = type(self) is not Listed and name in vars(type(self))  # a subclass of the user's
            if member is None and not own:
                raise AttributeError(f"{title} has no {name}")
            value = object.__getattribute__(self, name)
            if own or member is None or member.kind in ("property", "read-only", "constant"):
                if not own:
                    fake.uses.add((title, name, -1))
                return value

            def call(*arguments: Any, **keywords: Any) -> Any:
                fake.uses.add((title, name, len(arguments) + len(keywords)))
                if not member.accepts(len(arguments), tuple(keywords)):
                    raise TypeError(f"{title}.{name} does not take {arguments} {keywords}")
                return value(*arguments, **keywords)

            return call

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                member = members.get(name)
                if member is None or member.kind != "property":
                    raise AttributeError(f"{title}.{name} cannot be set")
                fake.uses.add((title, name, -1))
            object.__setattr__(self, name, value)

    for name, member in members.items():
        if member.kind == "constant" and not hasattr(Listed, name):
            setattr(Listed, name, name)
    Listed.fake, Listed.trt = fake, module  # type: ignore[attr-defined]
    Listed.__name__ = title
    return Listed


class Severity(enum.Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class _Logger:
    Severity = Severity

    def __init__(self) -> None:
        pass


class _Monitor:
    def __init__(self) -> None:
        pass


class _Builder:
    fake: FakeTensorRT
    trt: Any

    def __init__(self, logger: Any) -> None:
        if not self.fake.has_gpu:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        always = int(self.trt.__version__.split(".")[0]) != 10
        strongly = always or flags == 1 << self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return type("Network", (), {"_is_strongly_typed": strongly})()

    def create_builder_config(self) -> Any:
        return self.trt.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self.trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        self.fake.note_gpu("build_serialized_network")
        log = self._logger.log
        for step, phase in enumerate(("Preparing", "Timing")):
            config._monitor.phase_start(phase, None, 1)
            if not config._monitor.step_complete(phase, step):
                return None
            config._monitor.phase_finish(phase)
        if "build_serialized_network" in self.fake.fail:
            log(Severity.ERROR, "[builder] Error Code 10: no implementation\nfor node conv")
            log(Severity.ERROR, "[checkMacros] Error Code 1: cudaError 35")
            return None
        log(Severity.INFO, "Total Activation Memory: 1024 bytes")
        log(Severity.INFO, "Max Scratch Memory: 512 bytes")
        log(Severity.INFO, "Total Weights Memory: 256 bytes")
        if config._cache is not None:
            config._cache._entries.add(Path(network._onnx).name)
        profile = {name: [list(shape) for shape in shapes] for name, shapes in config._profile.items()}
        content = {"onnx": network._onnx, "profile": profile, "config": config._summary()}
        content |= {"version": self.trt.__version__, "strongly_typed": network._is_strongly_typed}
        if not config._targets:  # which make an engine of TensorRT-RTX portable
            content["gpu"] = self.fake.gpu_name(self.fake.current_gpu())
        return MAGIC + json.dumps(content).encode()


class _Config:
    fake: FakeTensorRT
    trt: Any
    profiling_verbosity = builder_optimization_level = hardware_compatibility_level = None
    num_compute_capabilities = 0

    def __init__(self) -> None:
        self._flags = {"TF32"}
        self._cache: Any = None
        self._profile: dict[str, Any] = {}
        self._monitor: Any = None
        self._limits: dict[str, int] = {}
        self._targets: dict[int, str] = {}

    def _summary(self) -> dict[str, Any]:
        return {
            "flags": sorted(self._flags),
            "limits": self._limits,
            "level": self.builder_optimization_level,
            "compatibility": getattr(self.hardware_compatibility_level, "name", None),
            "targets": [self._targets[i] for i in sorted(self._targets)],
        }

    @property
    def progress_monitor(self) -> Any:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: Any) -> None:
        self._monitor = monitor

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._limits[pool.name] = pool_size

    def set_compute_capability(self, capability: Any, index: int) -> None:
        assert index < self.num_compute_capabilities
        self._targets[index] = capability.name

    def add_optimization_profile(self, profile: Any) -> int:
        self._profile = profile._shapes
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        cache = self.trt.ITimingCache()
        cache._entries = set(filter(None, serialized_timing_cache.decode().split("\n")))
        return cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return "set_timing_cache" not in self.fake.fail

    def get_timing_cache(self) -> Any:
        return self._cache


class _TimingCache:
    def __init__(self) -> None:
        self._entries: set[str] = set()

    def combine(self, input_cache: Any, ignore_mismatch: bool) -> bool:
        self._entries |= input_cache._entries
        return True

    def serialize(self) -> bytes:
        return "\n".join(sorted(self._entries)).encode()


class _Profile:
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002  (TensorRT's names)
        self._shapes[input] = (min, opt, max)


class _Parser:
    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._errors = network, []  # type: ignore[var-annotated]

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        error = self.trt.ParserError()  # type: ignore[attr-defined]
        error._text = self._errors[index]
        return error

    def parse_from_file(self, model: str) -> bool:
        try:
            onnx.checker.check_model(model)
        except Exception as error:
            self._errors.append(f"Failed to parse the ONNX model.\n{type(error).__name__}")
            return False
        self._network._onnx = model
        return True


class _ParserError:
    _text = ""

    def desc(self) -> str:
        return self._text


class _Runtime:
    fake: FakeTensorRT
    trt: Any

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        self.fake.note_gpu("deserialize_cuda_engine")
        if not bytes(serialized_engine).startswith(MAGIC) or "deserialize_cuda_engine" in self.fake.fail:
            self._logger.log(Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization")
            return None
        content = json.loads(bytes(serialized_engine)[len(MAGIC) :])
        if content["version"] != self.trt.__version__:
            self._logger.log(Severity.ERROR, f"The engine plan file is of version {content['version']}")
            return None
        here = self.fake.gpu_name(self.fake.current_gpu())
        if content.get("gpu", here) != here and content["config"]["compatibility"] is None:
            self._logger.log(Severity.ERROR, "The engine plan file is generated on an incompatible device")
            return None
        engine = self.trt.ICudaEngine()
        self.fake.engines.add(engine)
        engine._load(content)
        return engine


class _Engine:
    fake: FakeTensorRT
    trt: Any

    def _load(self, content: dict[str, Any]) -> None:
        self._content = content
        model = onnx.load(content["onnx"])
        self._session = onnxruntime.InferenceSession(content["onnx"], providers=["CPUExecutionProvider"])
        graph = model.graph
        self._inputs = [value.name for value in graph.input]
        self._outputs = [value.name for value in graph.output]
        self._shapes, self._types = {}, {}
        for value in (*graph.input, *graph.output):
            tensor = value.type.tensor_type
            self._shapes[value.name] = tuple(
                -1 if side.dim_param else side.dim_value for side in tensor.shape.dim
            )
            self._types[value.name] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        half = any(i.data_type == onnx.TensorProto.FLOAT16 for i in graph.initializer)
        self._half = half and content["strongly_typed"]

    @property
    def num_io_tensors(self) -> int:
        return len(self._inputs) + len(self._outputs)

    def get_tensor_name(self, index: int) -> str:
        return [*self._inputs, *self._outputs][index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.trt.DataType[DTYPES[self._types[name].name]]

    def get_tensor_mode(self, name: str) -> Any:
        return self.trt.TensorIOMode.INPUT if name in self._inputs else self.trt.TensorIOMode.OUTPUT

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert name in self._inputs and profile_index == 0
        return [tuple(shape) for shape in self._content["profile"][name]]

    def create_runtime_config(self) -> Any:
        return self.trt.IRuntimeConfig()

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        if "create_execution_context" in self.fake.fail:
            return None
        self.fake.contexts += 1
        context = self.trt.IExecutionContext()
        context._engine = self
        context._cache = getattr(runtime_config, "_cache", None)
        return context

    def create_engine_inspector(self) -> Any:
        inspector = self.trt.EngineInspector()
        inspector._engine = self
        return inspector


class _RuntimeConfig:
    fake: FakeTensorRT
    trt: Any
    cuda_graph_strategy = None
    _cache: Any = None

    def create_runtime_cache(self) -> Any:
        return self.trt.IRuntimeCache()

    def set_runtime_cache(self, cache: Any = None) -> bool:
        self._cache = cache
        return "set_runtime_cache" not in self.fake.fail


class _RuntimeCache:
    fake: FakeTensorRT

    def __init__(self) -> None:
        self._kernels: set[str] = set()

    def _gpu(self) -> str:
        return self.fake.gpu_name(self.fake.current_gpu())

    def deserialize(self, blob: bytes) -> bool:
        gpu, *kernels = blob.decode().split("\n")
        if gpu != self._gpu():
            return False
        self._kernels = set(kernels)
        return True

    def serialize(self) -> Any:
        return "\n".join([self._gpu(), *sorted(self._kernels)]).encode()


class _Inspector:
    fake: FakeTensorRT

    def get_engine_information(self, format: Any) -> str:  # noqa: A002  (TensorRT's name)
        dtype = "Half" if self._engine._half else "Float"  # type: ignore[attr-defined]
        tensor = {"Dimensions": [1, 8], "Format/Datatype": dtype}
        layers = self.fake.layers or [
            {
                "Name": kind,
                "LayerType": kind,
                "Inputs": [{"Name": name, **tensor} for name in self._engine._inputs],  # type: ignore[attr-defined]
                "Outputs": [{"Name": f"{kind} out", **tensor}],
                "Metadata": f"[ONNX Layer: node_{kind}]",
            }
            for kind in ("CaskConvolution", "MatrixMultiply")
        ]
        return json.dumps({"Layers": layers})


class _Context:
    fake: FakeTensorRT

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Any) -> bool:
        smallest, _, largest = self._engine._content["profile"][name]  # type: ignore[attr-defined]
        inside = all(a <= side <= b for a, side, b in zip(smallest, shape, largest, strict=True))
        if inside:
            self._shapes[name] = tuple(shape)
        return inside

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if "set_tensor_address" in self.fake.fail:
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if "execute_async_v3" in self.fake.fail:
            return False
        self.fake.enqueue(stream_handle, self._execute)
        return True

    def _execute(self) -> None:
        engine: Any = self._engine  # type: ignore[attr-defined]
        if self._cache is not None:  # type: ignore[attr-defined]
            kernel = f"{Path(engine._content['onnx']).name} {sorted(self._shapes.items())}"
            self.fake.compiled += kernel not in self._cache._kernels  # type: ignore[attr-defined]
            self._cache._kernels.add(kernel)  # type: ignore[attr-defined]
        feed = {name: self._array(name, self._shapes[name]) for name in engine._inputs}
        outputs = engine._session.run(None, feed)
        for name, value in zip(engine._outputs, outputs, strict=True):
            self._array(name, value.shape)[...] = self.fake.distort(name, value)

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        dtype = self._engine._types[name]  # type: ignore[attr-defined]
        nbytes = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_uint8 * nbytes).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


BEHAVIOURS: dict[str, type] = {
    "ILogger": _Logger,
    "IProgressMonitor": _Monitor,
    "Builder": _Builder,
    "IBuilderConfig": _Config,
    "ITimingCache": _TimingCache,
    "IOptimizationProfile": _Profile,
    "OnnxParser": _Parser,
    "ParserError": _ParserError,
    "Runtime": _Runtime,
    "ICudaEngine": _Engine,
    "IRuntimeConfig": _RuntimeConfig,
    "IRuntimeCache": _RuntimeCache,
    "IExecutionContext": _Context,
    "EngineInspector": _Inspector,
}
