"""The kernels of an engine and their precision, read from the library's own report."""

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
FUSED = "fused kernel"
"""A kernel of many layers whose types inside the library does not report."""
UNKNOWN = "unknown"
"""A precision that the library does not report."""
# Kinds of kernels as TensorRT's compiler names them. A "correlation" is a convolution; a fused kernel with
# "Fc" in its name contains a matrix product.
_KINDS = {"correlation": CONVOLUTION, "gemm": MATRIX_PRODUCT}
_NO_KERNEL = {"shape_call", "signal", "wait"}
_DTYPES = {
    "Half": "float16",
    "Float": "float32",
    "BFloat16": "bfloat16",
    "Int8": "int8",
    "FP8": "float8",
}
_KNOWN = re.compile(r"(bool|u?int|float|bfloat|fp|e\dm)\d*")


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """One kernel of an engine."""

    name: str
    kind: str
    """``convolution``, ``matrix product``, ``other kernel``, or ``on weights alone`` for a kernel that does
    not depend on the inputs; the library may compute it once, or again in every run. ``fused kernel`` for
    one that the library does not look into."""
    precision: str
    """Type of the largest tensor that it reads: ``float16``, ``float32``, ... Fused kernels also read
    scales and biases, which may have another type. ``unknown`` where the library does not report it."""
    inputs: tuple[str, ...]
    """Types of its computed inputs, followed by those of its constants."""
    outputs: tuple[str, ...]
    onnx_nodes: tuple[str, ...]
    """Nodes of the ONNX graph that it computes."""


class _Tensor(NamedTuple):
    name: str
    dtype: str
    elements: int
    """With a batch of one."""


@dataclass(frozen=True, slots=True)
class _ReportedLayer:
    name: str
    kind: str
    reads: tuple[_Tensor, ...]
    constants: tuple[_Tensor, ...]
    writes: tuple[_Tensor, ...]
    onnx_nodes: tuple[str, ...]


def count_precisions(layers: Iterable[EngineLayer]) -> dict[str, dict[str, int]]:
    """Number of kernels by kind and precision, in the form that the manifest has for graphs."""
    counts: dict[str, Counter[str]] = {}
    for layer in layers:
        counts.setdefault(layer.kind, Counter())[layer.precision] += 1
    return {kind: dict(sorted(counts[kind].items())) for kind in sorted(counts)}


def compute_precision(layers: Iterable[EngineLayer]) -> str:
    """Precision of convolutions and matrix products: ``float16``, ``float32``, or ``float16+float32``.

    Those of unknown precision are left out; :func:`unknown_precision` returns them.
    """
    used = {layer.precision for layer in layers if layer.kind in (CONVOLUTION, MATRIX_PRODUCT)}
    return "+".join(sorted(used - {UNKNOWN}))


def unknown_precision(layers: Iterable[EngineLayer]) -> list[EngineLayer]:
    """Kernels that convolve or multiply, or may do so, in a precision that the library does not report."""
    kinds = (CONVOLUTION, MATRIX_PRODUCT, FUSED)
    return [layer for layer in layers if layer.kind in kinds and layer.precision == UNKNOWN]


def parse_report(report: str, inputs: Sequence[str]) -> tuple[EngineLayer, ...]:
    """Layers from the table that the TensorRT-RTX compiler logs (the message that starts with ``Layers:``).

    ``inputs`` are the names of the network's inputs.
    """
    reported = [layer for line in report.splitlines() if (layer := _parse_line(line)) is not None]
    return _classify(reported, inputs)


def parse_inspector(text: str, inputs: Sequence[str]) -> tuple[EngineLayer, ...]:
    """Layers from the JSON of ``EngineInspector.get_engine_information``, with detailed verbosity.

    ``inputs`` are the names of the network's inputs.
    """
    layers = json.loads(text).get("Layers", [])
    # With less verbosity the entries are names only, without types.
    return _classify([_parse_json(layer) for layer in layers if isinstance(layer, dict)], inputs)


def _parse_line(line: str) -> _ReportedLayer | None:
    match = re.match(
        r"Name: (?P<name>.*?), LayerType: (?P<kind>.*?), Inputs: \[(?P<inputs>.*?)\], "
        r"Constants: \[(?P<constants>.*?)\], Outputs: \[(?P<outputs>.*?)\], TacticName: .*?"
        r"Metadata: (?P<nodes>.*)$",
        line,
    )
    if match is None:
        return None
    reads, constants, writes = (_parse_tensors(match[part]) for part in ("inputs", "constants", "outputs"))
    nodes = tuple(re.findall(r"\[ONNX Layer: (.*?)\]", match["nodes"]))
    return _ReportedLayer(match["name"], match["kind"], reads, constants, writes, nodes)


def _parse_tensors(text: str) -> tuple[_Tensor, ...]:
    found = re.findall(r"\{ Name: (.*?), Dimensions: \[(.*?)\].*?Datatype: (\w+)", text)
    return tuple(
        _Tensor(name, _DTYPES.get(dtype, dtype.lower()), _elements(dimensions.split(",")))
        for name, dimensions, dtype in found
    )


def _elements(dimensions: Iterable[str | int]) -> int:
    return math.prod(abs(int(side)) for side in dimensions if str(side).strip())


def _parse_json(layer: dict[str, Any]) -> _ReportedLayer:
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
    return _ReportedLayer(
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
        (("UInt8", "UINT8"), "uint8"),
        (("Int8", "INT8"), "int8"),
    ):
        if any(word in text for word in words):
            return dtype
    return text.lower() if _KNOWN.search(text.lower()) else UNKNOWN


def _classify(reported: Sequence[_ReportedLayer], inputs: Sequence[str]) -> tuple[EngineLayer, ...]:
    """Kernels among the reported layers, in the order in which the engine runs them."""
    depend_on_inputs = set(inputs)
    layers = []
    for layer in reported:
        from_inputs = any(tensor.name in depend_on_inputs for tensor in layer.reads)
        if from_inputs:
            depend_on_inputs.update(tensor.name for tensor in layer.writes)
        if layer.kind in _NO_KERNEL or not layer.writes:
            continue
        tensors = (*layer.reads, *layer.constants) or layer.writes
        kind = _kind(layer) if from_inputs else ON_WEIGHTS
        largest = max(tensors, key=lambda tensor: tensor.elements)
        layers.append(
            EngineLayer(
                layer.name,
                kind,
                UNKNOWN if kind == FUSED else largest.dtype,
                tuple(tensor.dtype for tensor in tensors),
                tuple(tensor.dtype for tensor in layer.writes),
                layer.onnx_nodes,
            )
        )
    return tuple(layers)


def _kind(layer: _ReportedLayer) -> str:
    kind = layer.kind.lower()
    if kind in _KINDS:
        return _KINDS[kind]
    if kind == "myelin" or "ForeignNode" in layer.name:  # with the names of all that it contains
        return FUSED
    if "conv" in kind:  # TensorRT names its layers after those of the network
        return CONVOLUTION
    if "matrixmultiply" in kind or "matmul" in kind or (kind == "runtime_fusion" and "Fc" in layer.name):
        return MATRIX_PRODUCT
    return OTHER
