"""Puts QuantizeLinear and DequantizeLinear around some of the convolutions of a graph.

``onnxruntime.quantization`` inserts the nodes and stores the weights. This module decides which tensors are
quantised, and with what scales.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, version_converter

from dccnet.calibration.int8.layers import ACTIVATIONS, Layer
from dccnet.calibration.int8.methods import SIGNED, UNSIGNED, Range
from dccnet.calibration.int8.weights import LARGEST, LARGEST_IN_PAIRS, channel_scales, round_kernels
from dccnet.calibration.settings import Target

TARGETS: tuple[Target, ...] = get_args(Target)

HALF_OPSET = 19
"""The first opset whose QuantizeLinear accepts float16."""


def quantise(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    ranges: Callable[[str], Range],
    target: Target,
) -> onnx.ModelProto:
    """A copy of ``model`` with ``layers`` in INT8; all other nodes keep their precision.

    Weights are symmetric, with a scale for each output channel. The target ``tensorrt`` quantises the input
    of a convolution to signed, symmetric INT8 and leaves its output unquantised. ``cpu`` quantises both to
    UINT8, the output after its activation, which saturation replaces: then ONNX Runtime computes on bytes
    from one convolution to the next. ``ranges`` returns the range that INT8 covers for a tensor: the
    ``source`` of each layer and, for ``cpu``, its ``result``. Without layers, returns ``model`` itself.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    if not layers:  # the quantiser takes an empty list for all nodes
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
    _restore_inputs(quantised, {layer.node for layer in layers}, kept)
    return quantised


def _restore_inputs(model: onnx.ModelProto, chosen: Collection[str], kept: Collection[str]) -> None:
    """Let all nodes except the ``chosen`` ones read unquantised tensors again.

    The quantiser rounds a tensor for all nodes that read it, such as residual sums. Tensors in ``kept``
    stay quantised, because they exist only as bytes.
    """
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
    """Replace the empty range of a tensor that was zero on all frames: a scale must not be zero."""
    return span if span.high - span.low > 1e-12 else Range(0.0, 1.0)


def _round_weights(
    model: onnx.ModelProto, layers: Sequence[Layer], spans: dict[str, Range], target: Target
) -> dict[str, NDArray[np.float64]]:
    """Round each weight to integer multiples of the scales of its output channels, in place.

    Returns the scales by weight, each ``(out,)``.
    """
    weights = {weight.name: weight for weight in model.graph.initializer}
    levels = SIGNED if target == "tensorrt" else UNSIGNED
    sources = {layer.source for layer in layers}
    scales: dict[str, NDArray[np.float64]] = {}
    for layer in layers:
        if layer.weight in scales:  # 4D kernels are used several times
            continue
        stored = weights[layer.weight]
        values = numpy_helper.to_array(stored)
        bias = numpy_helper.to_array(weights[layer.bias]) if layer.bias in weights else None
        # ONNX Runtime computes on bytes where nothing stands between a result and its quantisation.
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
    """A copy in which the weight of each layer is an initializer: graphs reshape 4D kernels."""
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
