"""What an engine is made of, read back from the library's own report: kernels and their precision."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

CONVOLUTION, MATRIX_PRODUCT, OTHER, ON_WEIGHTS = (
    "convolution",
    "matrix product",
    "other kernel",
    "on weights alone",
)
# How TensorRT's compiler names kinds of kernels. A "correlation" is a convolution; a fused kernel with
# "Fc" in its name multiplies matrices and does more.
_KINDS = {"correlation": CONVOLUTION, "gemm": MATRIX_PRODUCT}
_NO_KERNEL = {"shape_call", "signal", "wait"}
_DTYPES = {
    "Half": "float16",
    "Float": "float32",
    "BFloat16": "bfloat16",
    "Int8": "int8",
    "FP8": "float8",
}


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """One kernel of an engine."""

    name: str
    kind: str
    """``convolution``, ``matrix product``, ``other kernel``, or ``on weights alone`` for what no input
    reaches: the library computes it again in every run, or once."""
    precision: str
    """Of the largest tensor that it reads: ``float16``, ``float32``, ... Fused kernels also read scales
    and biases, which may have another."""
    inputs: tuple[str, ...]
    """Types of what it reads that is computed, then of its constants."""
    outputs: tuple[str, ...]
    onnx_nodes: tuple[str, ...]
    """Nodes of the graph that it computes."""


def engine_layer(values: dict[str, Any]) -> EngineLayer:
    """From JSON. Raises :class:`TypeError` or :class:`KeyError`."""
    lists = {name: tuple(values[name]) for name in ("inputs", "outputs", "onnx_nodes")}
    return EngineLayer(**(values | lists))


class _Tensor(NamedTuple):
    name: str
    dtype: str
    elements: int
    """For a batch of one."""


@dataclass(frozen=True, slots=True)
class _Record:
    name: str
    kind: str
    reads: tuple[_Tensor, ...]
    constants: tuple[_Tensor, ...]
    writes: tuple[_Tensor, ...]
    onnx_nodes: tuple[str, ...]


def count_precisions(layers: Iterable[EngineLayer]) -> dict[str, dict[str, int]]:
    """How many kernels of each kind compute in which precision, as for graphs in the manifest."""
    counts: dict[str, Counter[str]] = {}
    for layer in layers:
        counts.setdefault(layer.kind, Counter())[layer.precision] += 1
    return {kind: dict(sorted(counts[kind].items())) for kind in sorted(counts)}


def precision(layers: Iterable[EngineLayer]) -> str:
    """``float16``, ``float32`` or mixed ``float16+float32``: of convolutions and matrix products."""
    used = {layer.precision for layer in layers if layer.kind in (CONVOLUTION, MATRIX_PRODUCT)}
    return "+".join(sorted(used))


def from_report(report: str, inputs: Sequence[str]) -> tuple[EngineLayer, ...]:
    """The table that the TensorRT-RTX compiler logs, the message that starts with ``Layers:``.

    ``inputs`` are the names of the network's inputs.
    """
    records = [r for line in report.splitlines() if (r := _from_line(line)) is not None]
    return _classify(records, inputs)


def from_inspector(text: str, inputs: Sequence[str]) -> tuple[EngineLayer, ...]:
    """What ``EngineInspector.get_engine_information`` gives as JSON, with detailed profiling verbosity."""
    layers = json.loads(text).get("Layers", [])
    # With less verbosity the entries are bare names, which say nothing of types.
    return _classify([_from_json(layer) for layer in layers if isinstance(layer, dict)], inputs)


def _from_line(line: str) -> _Record | None:
    match = re.match(
        r"Name: (?P<name>.*?), LayerType: (?P<kind>.*?), Inputs: \[(?P<inputs>.*?)\], "
        r"Constants: \[(?P<constants>.*?)\], Outputs: \[(?P<outputs>.*?)\], TacticName: .*?"
        r"Metadata: (?P<nodes>.*)$",
        line,
    )
    if match is None:
        return None
    reads, constants, writes = (_tensors(match[part]) for part in ("inputs", "constants", "outputs"))
    nodes = tuple(re.findall(r"\[ONNX Layer: (.*?)\]", match["nodes"]))
    return _Record(match["name"], match["kind"], reads, constants, writes, nodes)


def _tensors(text: str) -> tuple[_Tensor, ...]:
    found = re.findall(r"\{ Name: (.*?), Dimensions: \[(.*?)\].*?Datatype: (\w+)", text)
    return tuple(
        _Tensor(name, _DTYPES.get(dtype, dtype.lower()), _elements(dimensions.split(",")))
        for name, dimensions, dtype in found
    )


def _elements(dimensions: Iterable[str | int]) -> int:
    return math.prod(abs(int(side)) for side in dimensions if str(side).strip())


def _from_json(layer: dict[str, Any]) -> _Record:
    def tensors(key: str) -> tuple[_Tensor, ...]:
        return tuple(
            _Tensor(
                str(t.get("Name", "")),
                _json_dtype(str(t.get("Format/Datatype", t.get("Datatype", "")))),
                _elements(t.get("Dimensions", ())),
            )
            for t in layer.get(key, [])
            if isinstance(t, dict)
        )

    nodes = re.findall(r"\[ONNX Layer: (.*?)\]", str(layer.get("Metadata", "")))
    return _Record(
        str(layer.get("Name", "")),
        str(layer.get("LayerType", "")),
        tensors("Inputs"),
        tensors("Constants"),
        tensors("Outputs"),
        tuple(nodes),
    )


def _json_dtype(text: str) -> str:
    """``Row major linear FP16 format`` or ``Half`` -> ``float16``."""
    for words, dtype in (
        (("FP16", "Half"), "float16"),
        (("BF16", "BFloat16"), "bfloat16"),
        (("FP32", "Float"), "float32"),
        (("Int8", "INT8"), "int8"),
    ):
        if any(word in text for word in words):
            return dtype
    return text.lower()


def _classify(records: Sequence[_Record], inputs: Sequence[str]) -> tuple[EngineLayer, ...]:
    reached = set(inputs)
    layers = []
    for record in records:
        from_inputs = any(tensor.name in reached for tensor in record.reads)
        if from_inputs:
            reached.update(tensor.name for tensor in record.writes)
        if record.kind in _NO_KERNEL or not record.writes:
            continue
        read = (*record.reads, *record.constants) or record.writes
        layers.append(
            EngineLayer(
                record.name,
                _kind(record) if from_inputs else ON_WEIGHTS,
                max(read, key=lambda tensor: tensor.elements).dtype,
                tuple(tensor.dtype for tensor in read),
                tuple(tensor.dtype for tensor in record.writes),
                record.onnx_nodes,
            )
        )
    return tuple(layers)


def _kind(record: _Record) -> str:
    kind = record.kind.lower()
    if kind in _KINDS:
        return _KINDS[kind]
    if "conv" in kind:  # classic TensorRT names its layers after the network's
        return CONVOLUTION
    if "matrixmultiply" in kind or "matmul" in kind or (kind == "runtime_fusion" and "Fc" in record.name):
        return MATRIX_PRODUCT
    return OTHER
