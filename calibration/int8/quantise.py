"""A graph with QuantizeLinear and DequantizeLinear around some of its convolutions.

``onnxruntime.quantization`` inserts the nodes and stores the weights; which, and with what scales, is
decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, version_converter

from dccnet.calibration.int8.layers import ACTIVATIONS, Layer
from dccnet.calibration.int8.methods import SIGNED, UNSIGNED, Range
from dccnet.calibration.int8.weights import LARGEST, LARGEST_IN_PAIRS, channel_scales, round_kernels

Target = Literal["tensorrt", "cpu"]
TARGETS: tuple[Target, ...] = get_args(Target)

HALF_OPSET = 19
"""The first whose QuantizeLinear takes float16."""


def quantise(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    ranges: Callable[[str], Range],
    target: Target,
) -> onnx.ModelProto:
    """``model`` with ``layers`` in INT8; everything else computes as before, in its own precision.

    Weights are symmetric with a scale for each output channel. ``tensorrt`` stores what a convolution reads
    as signed, symmetric INT8 and what it gives not at all. ``cpu`` stores both, unsigned, the latter after
    its activation, which saturation replaces: so ONNX Runtime computes on bytes from one convolution to the
    next. ``ranges`` gives what INT8 covers of a tensor: of each layer's ``source`` and, for ``cpu``, its
    ``result``. No layers: the model as it is.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    if not layers:  # the quantiser would take an empty list for all nodes
        return model
    model = onnx.shape_inference.infer_shapes(_in_opset_with_half(_fold_weights(model, layers)))
    tensors = {t for layer in layers for t in (layer.source, *([layer.result] if target == "cpu" else []))}
    spans = {tensor: _wide_enough(ranges(tensor)) for tensor in sorted(tensors)}
    followers = {node.input[0]: node for node in model.graph.node if node.op_type in ACTIVATIONS}
    nodes = [layer.node for layer in layers]
    if target == "cpu":
        activated = [layer.raw_result for layer in layers if layer.raw_result != layer.result]
        nodes += [followers[name].name for name in activated]
        data = spans | {layer.raw_result: spans[layer.result] for layer in layers}
    else:
        data = spans
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    dtypes = {name: np.float16 if types.get(name) == TensorProto.FLOAT16 else np.float32 for name in data}
    scales = _round_weights(model, layers, spans, target)
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if target == "tensorrt" else QuantType.QUInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {
                name: TensorData(lowest=dtypes[name](span.low), highest=dtypes[name](span.high))
                for name, span in data.items()
            },
        ),
        nodes_to_quantize=nodes,
        nodes_to_exclude=[],
        op_types_to_quantize=["Conv"] if target == "tensorrt" else ["Conv", *ACTIVATIONS],
        extra_options={
            "ActivationSymmetric": target == "tensorrt",
            "WeightSymmetric": True,
            "QuantizeBias": False,  # TensorRT refuses an INT32 bias
            "OpTypesToExcludeOutputQuantization": ["Conv"] if target == "tensorrt" else [],
            "TensorQuantOverrides": {
                name: [
                    {"quant_type": QuantType.QInt8, "axis": 0, "scale": scale, "zero_point": np.int8(0)}
                    for scale in channels
                ]
                for name, channels in scales.items()
            },
        },
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised: onnx.ModelProto = quantiser.model.model
    del quantised.graph.value_info[:]
    kept = {layer.result for layer in layers} if target == "cpu" else set()
    _leave_alone(quantised, {layer.node for layer in layers}, kept)
    return quantised


def _leave_alone(model: onnx.ModelProto, chosen: Collection[str], kept: Collection[str]) -> None:
    """Let all nodes but the ``chosen`` read what they did before: the quantiser rounds a tensor for
    everybody who reads it, residual sums among them. Tensors of ``kept`` are there as bytes alone."""
    rounded = {
        node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"
    }
    before = {
        node.output[0]: rounded[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded
    }
    for node in model.graph.node:
        if node.name not in chosen:
            for place, name in enumerate(node.input):
                if before.get(name, name) not in kept:
                    node.input[place] = before.get(name, name)


def _wide_enough(span: Range) -> Range:
    """A tensor that was zero on all frames has no range, and a scale must not be zero."""
    return span if span.high - span.low > 1e-12 else Range(0.0, 1.0)


def _round_weights(
    model: onnx.ModelProto, layers: Sequence[Layer], spans: dict[str, Range], target: Target
) -> dict[str, NDArray[np.float64]]:
    """Each weight becomes whole multiples of its channels' scales, which are returned."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    levels = SIGNED if target == "tensorrt" else UNSIGNED
    sources = {layer.source for layer in layers}
    scales: dict[str, NDArray[np.float64]] = {}
    for layer in layers:
        if layer.weight in scales:  # shared: 4D kernels meet both branches
            continue
        stored = weights[layer.weight]
        values = numpy_helper.to_array(stored)
        bias = numpy_helper.to_array(weights[layer.bias]) if layer.bias in weights else None
        # What ONNX Runtime computes on bytes: where nothing stands between the result and its rounding.
        in_pairs = target == "cpu" or layer.result == layer.raw_result in sources
        largest = LARGEST_IN_PAIRS if in_pairs and not layer.depthwise else LARGEST
        step = levels.steps(spans[layer.source])
        scale = channel_scales(values, bias, step, largest)
        column = scale.reshape(-1, *[1] * (values.ndim - 1))
        whole = round_kernels(values / column, largest) * column
        stored.CopyFrom(numpy_helper.from_array(whole.astype(values.dtype), stored.name))
        scales[layer.weight] = scale
    return scales


def _in_opset_with_half(model: onnx.ModelProto) -> onnx.ModelProto:
    halves = any(weight.data_type == TensorProto.FLOAT16 for weight in model.graph.initializer)
    return version_converter.convert_version(model, HALF_OPSET) if halves else model


def _fold_weights(model: onnx.ModelProto, layers: Sequence[Layer]) -> onnx.ModelProto:
    """A copy in which each layer's weight is an initializer: 4D kernels are reshaped in the graph."""
    from onnx.reference import ReferenceEvaluator

    model = onnx.ModelProto.FromString(model.SerializeToString())
    weights = {weight.name for weight in model.graph.initializer}
    computed = sorted({layer.weight for layer in layers} - weights)
    if not computed:
        return model
    makers = {name: node for node in model.graph.node for name in node.output}
    for name in computed:
        needed, pending = [], [name]
        while pending:
            node = makers.get(pending.pop())
            if node is not None and node not in needed:
                needed.append(node)
                pending += node.input
        ordered = [node for node in model.graph.node if node in needed]
        given = {i for node in ordered for i in node.input}
        initializers = [weight for weight in model.graph.initializer if weight.name in given]
        output = onnx.ValueInfoProto(name=name)
        graph = onnx.helper.make_graph(ordered, "weights", [], [output], initializers)
        alone = onnx.helper.make_model(graph, opset_imports=model.opset_import)
        (value,) = ReferenceEvaluator(alone).run([name], {})
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        makers.pop(name)
    kept = [n for n in model.graph.node if not set(n.output) & set(computed)]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model
