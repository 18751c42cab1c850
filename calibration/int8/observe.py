"""Runs frames through the graphs of a bundle and collects histograms of the tensors to quantise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from dccnet.calibration.frames import Frame
from dccnet.calibration.int8.histogram import Histogram
from dccnet.calibration.int8.layers import Layer
from dccnet.export.bundles.samples import neighbours
from dccnet.export.bundles.scratch import open_graph
from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DataError
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph

Histograms = dict[str, dict[str, Histogram]]
"""By graph and by tensor."""


def observe(
    bundle: Bundle,
    layers: Sequence[Layer],
    frames: Sequence[Frame],
    on_frame: Callable[[], None] = lambda: None,
) -> Histograms:
    """Histograms of the inputs and outputs of ``layers``, over all ``frames``.

    Layers of the matcher run on pairs of neighbouring frames, the last with the first. ``on_frame`` is
    called after each frame. Raises :class:`DataError` where a value is not finite.
    """
    watched = {
        name: sorted({t for layer in layers if layer.graph == name for t in (layer.source, layer.result)})
        for name in (ENCODER, MATCHER)
    }
    histograms: Histograms = {
        name: {tensor: Histogram() for tensor in tensors} for name, tensors in watched.items() if tensors
    }
    encoder = _open_with_outputs(bundle.graph_path(ENCODER), watched[ENCODER])
    matcher = _open_with_outputs(bundle.graph_path(MATCHER), watched[MATCHER]) if watched[MATCHER] else None
    features: list[dict[str, Array]] = []
    branches = [spec.name for spec in bundle.manifest.graphs[ENCODER].outputs]
    for frame in frames:
        outputs = encoder.run({"frame": bundle.manifest.frames.of(frame.pixels)[None]})
        _add(histograms.get(ENCODER, {}), outputs, frame.name)
        if matcher is not None:
            features.append({branch: outputs[branch] for branch in branches})
        on_frame()
    if matcher is not None:
        for frame, (a, b) in zip(frames, neighbours(features), strict=True):
            _add(histograms[MATCHER], matcher.run(matcher_inputs(a, b)), frame.name)
    return histograms


def _add(histograms: Mapping[str, Histogram], outputs: Mapping[str, Array], frame: str) -> None:
    for tensor, histogram in histograms.items():
        try:
            histogram.add(outputs[tensor].astype(np.float32, copy=False))
        except ValueError:
            raise DataError(
                f"the network computes values that are not finite on {frame} ({tensor}): its weights are "
                "damaged, or its training diverged, and there is nothing to calibrate"
            ) from None


def _open_with_outputs(path: Path, tensors: Sequence[str]) -> OnnxRuntimeGraph:
    """The graph in ONNX Runtime, with ``tensors`` as additional outputs."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    outputs = {output.name for output in model.graph.output}
    for tensor in tensors:
        if tensor not in outputs:
            dtype = types.get(tensor, TensorProto.FLOAT)
            model.graph.output.append(helper.make_tensor_value_info(tensor, dtype, None))
    return open_graph(model, path.stem)
