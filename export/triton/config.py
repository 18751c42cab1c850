"""``config.pbtxt``: a model of Triton, in the text format of its protobuf ``ModelConfig``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dccnet.runtime.manifest import TensorSpec

Message = Mapping[str, Any]
"""Fields by name: numbers, texts, :class:`Word`, messages, or lists of these for repeated fields."""
TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}
"""Triton's types by NumPy's."""
ANY = -1
"""A length that varies."""


class Word(str):
    """A value that is written without quotes: of an enumeration."""


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a model runs, and what runs at once."""

    kind: str
    """``KIND_AUTO`` (on GPUs where the server has any), ``KIND_CPU`` or ``KIND_GPU``."""
    instances: int
    """Copies of the model, on each GPU or on the CPU."""
    max_batch: int
    """Pictures or pairs in one run, at most."""
    queue_delay_us: int
    """Microseconds that a request waits for others to be run with."""
    threads: int = 0
    """Of ONNX Runtime; 0: one for each core."""


@dataclass(frozen=True, slots=True)
class Step:
    """A model that an ensemble runs."""

    model: str
    version: int
    inputs: dict[str, str]
    """The ensemble's tensor for each input of the model."""
    outputs: dict[str, str]
    """The ensemble's tensor for each output of the model that is used."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the repository: a file, or an ensemble of others."""

    name: str
    version: int
    inputs: tuple[TensorSpec, ...]
    """With the batch axis, whose length is a text, as are others that vary."""
    outputs: tuple[TensorSpec, ...]
    backend: str = ""
    file: str = ""
    """Name of the model's file; empty for an ensemble."""
    placing: Placing | None = None
    steps: tuple[Step, ...] = ()
    max_batch: int = 1
    lengths: dict[str, int] = field(default_factory=dict)
    """A length for each that varies, for the requests by which Triton warms the model up."""

    def config(self) -> str:
        """The content of ``config.pbtxt``."""
        return "".join(_lines(self._message()))

    def _message(self) -> Message:
        message: dict[str, Any] = {"name": self.name}
        message |= {"backend": self.backend, "default_model_filename": self.file} if self.file else {}
        message |= {} if self.file else {"platform": "ensemble"}
        message |= {
            "max_batch_size": self.max_batch,
            "input": [_tensor(spec) for spec in self.inputs],
            "output": [_tensor(spec) for spec in self.outputs],
            "version_policy": {"specific": {"versions": [self.version]}},
        }
        if self.placing is None:
            return message | {"ensemble_scheduling": {"step": [_step(step) for step in self.steps]}}
        message["instance_group"] = [{"count": self.placing.instances, "kind": Word(self.placing.kind)}]
        if self.max_batch > 1:
            message["dynamic_batching"] = {"max_queue_delay_microseconds": self.placing.queue_delay_us}
        if self.placing.threads:
            threads = {"string_value": str(self.placing.threads)}
            message["parameters"] = [{"key": "intra_op_thread_count", "value": threads}]
        message["model_warmup"] = [self._warmup(count) for count in sorted({1, self.max_batch})]
        return message

    def _warmup(self, batch: int) -> Message:
        inputs = [
            {
                "key": spec.name,
                "value": {
                    "data_type": Word(TYPES[spec.dtype]),
                    "dims": [self.lengths.get(str(length), length) for length in spec.shape[1:]],
                    "zero_data": True,
                },
            }
            for spec in self.inputs
        ]
        return {"name": f"batch of {batch}", "batch_size": batch, "inputs": inputs}


def _tensor(spec: TensorSpec) -> Message:
    dims = [length if isinstance(length, int) else ANY for length in spec.shape[1:]]
    return {"name": spec.name, "data_type": Word(TYPES[spec.dtype]), "dims": dims}


def _step(step: Step) -> Message:
    return {
        "model_name": step.model,
        "model_version": step.version,
        "input_map": [{"key": key, "value": value} for key, value in step.inputs.items()],
        "output_map": [{"key": key, "value": value} for key, value in step.outputs.items()],
    }


def _lines(message: Message, indent: str = "") -> Iterator[str]:
    for name, content in message.items():
        for value in content if isinstance(content, list) else [content]:
            if isinstance(value, Mapping):
                yield f"{indent}{name} {{\n"
                yield from _lines(value, indent + "  ")
                yield f"{indent}}}\n"
            else:
                yield f"{indent}{name}: {_scalar(value)}\n"


def _scalar(value: object) -> str:
    if isinstance(value, Word):
        return str(value)
    return json.dumps(value)  # numbers, true, and texts of ASCII, which both write alike
