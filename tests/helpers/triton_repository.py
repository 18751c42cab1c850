"""What Triton's server does with a repository: read the configurations, check requests, run ensembles.

It follows ``config.pbtxt`` alone. Models run in ONNX Runtime.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]
Message = dict[str, list[Any]]
"""Every field as the list of its values."""
PIXELS = 5e-5
"""By how much places may differ, which are refined in float32 in other orders of the same sums."""
DTYPES = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
}


class RequestError(Exception):
    """A request that the server refuses."""


def parse(text: str) -> Message:
    """A message in the text format of protobuf; numbers as int, enumerations as text."""
    tokens = iter(re.findall(r'"(?:[^"\\]|\\.)*"|[{}:]|[^\s{}:]+', text))
    return _fields(tokens)


def _fields(tokens: Iterator[str]) -> Message:
    message: Message = {}
    for name in tokens:
        if name == "}":
            break
        following = next(tokens)
        value: Any = _fields(tokens) if following == "{" else _scalar(next(tokens))
        message.setdefault(name, []).append(value)
    return message


def _scalar(token: str) -> Any:
    if token.startswith('"'):
        return token[1:-1]
    return int(token) if re.fullmatch(r"-?\d+", token) else {"true": True}.get(token, token)


class ServedModel:
    """A model as its configuration describes it."""

    def __init__(self, folder: Path, config: Message) -> None:
        self.folder, self.config = folder, config
        (self.name,) = config["name"]
        (self.max_batch,) = config["max_batch_size"]
        (self.version,) = config["version_policy"][0]["specific"][0]["versions"]
        self.inputs = {tensor["name"][0]: tensor for tensor in config["input"]}
        self.outputs = {tensor["name"][0]: tensor for tensor in config["output"]}
        self.steps = config.get("ensemble_scheduling", [{"step": []}])[0]["step"]
        assert self.name == folder.name and (folder / str(self.version)).is_dir()

    @property
    def file(self) -> Path:
        (name,) = self.config["default_model_filename"]
        return self.folder / str(self.version) / name

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Raise :class:`RequestError` for what the server would refuse."""
        if set(inputs) != set(self.inputs):
            raise RequestError(f"{self.name} takes {sorted(self.inputs)}, got {sorted(inputs)}")
        batches = {value.shape[0] for value in inputs.values()}
        if len(batches) != 1 or not 1 <= max(batches) <= self.max_batch:
            raise RequestError(f"{self.name}: batches of {batches}, and {self.max_batch} at most")
        for name, value in inputs.items():
            check_tensor(self.inputs[name], value)


def check_tensor(tensor: Message, value: NDArray[Any]) -> None:
    """Raise :class:`RequestError` for another type or shape than a configuration says."""
    (name,), (dtype,), dims = tensor["name"], tensor["data_type"], tensor["dims"]
    if value.dtype != DTYPES[dtype]:
        raise RequestError(f"{name} is {dtype}, got {value.dtype}")
    fits = len(value.shape) == len(dims) + 1 and all(
        dim in (-1, length) for dim, length in zip(dims, value.shape[1:], strict=True)
    )
    if not fits:
        raise RequestError(f"{name} has dims {dims}, got {value.shape}")


class Repository:
    """A loaded repository."""

    def __init__(self, folder: Path) -> None:
        configs = sorted(folder.glob("*/config.pbtxt"))
        models = (ServedModel(path.parent, parse(path.read_text("utf-8"))) for path in configs)
        self.models = {model.name: model for model in models}
        assert set(self.models) == {path.name for path in folder.iterdir() if path.is_dir()}
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def infer(self, name: str, inputs: Tensors) -> Tensors:
        """All outputs of a model. Raises :class:`RequestError`."""
        model = self.models[name]
        model.check(inputs)
        outputs = self._ensemble(model, inputs) if model.steps else self._run(model, inputs)
        for output, value in outputs.items():
            check_tensor(model.outputs[output], value)
        return outputs

    def _ensemble(self, model: ServedModel, inputs: Tensors) -> Tensors:
        tensors, pending = dict(inputs), list(model.steps)
        while pending:
            step = next(step for step in pending if set(_map(step, "input").values()) <= set(tensors))
            pending.remove(step)
            (part,), (version,) = step["model_name"], step["model_version"]
            assert self.models[part].version == version
            given = {key: tensors[value] for key, value in _map(step, "input").items()}
            found = self.infer(part, given)
            made = {value: found[key] for key, value in _map(step, "output").items()}
            assert not set(made) & set(tensors), "a tensor that is made twice"
            tensors |= made
        return {name: tensors[name] for name in model.outputs}

    def _run(self, model: ServedModel, inputs: Tensors) -> Tensors:
        if model.name not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._sessions[model.name] = onnxruntime.InferenceSession(
                str(model.file), options, providers=["CPUExecutionProvider"]
            )
        names = list(model.outputs)
        values = self._sessions[model.name].run(names, inputs)
        return dict(zip(names, values, strict=True))


def _map(step: Message, kind: str) -> dict[str, str]:
    entries = step[f"{kind}_map"]
    return {entry["key"][0]: entry["value"][0] for entry in entries}
