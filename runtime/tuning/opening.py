"""Opening a bundle in the ways that ``dcc tune`` chose for its graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dccnet.runtime.backend import Backend
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError, EngineError
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.messages import note
from dccnet.runtime.onnx_gpu import OnnxRuntimeGpuBackend
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend, OnnxRuntimeGraph, onnxruntime_title
from dccnet.runtime.openvino import BFLOAT16, FLOAT32, OpenVinoGraph, openvino_title
from dccnet.runtime.tensorrt.backend import TensorRTBackend
from dccnet.runtime.tuning.choice import Way
from dccnet.runtime.tuning.kept import find
from dccnet.runtime.two_graphs import TwoGraphsBackend, load_both


def open_tuned(bundle: Bundle, threads: int, device: str, on_note: Callable[[str], None]) -> Backend | None:
    """The bundle as ``dcc tune`` chose; None where it chose nothing that holds here and now.

    ``threads``, unless it is 0, replaces the measured number; with ``device`` ``cpu``, a choice for another
    device does not hold. A choice that does not hold, or cannot be opened, is passed over with a sentence
    in the log.
    """
    choice, reason = find(bundle)
    if choice is None:
        if reason is not None:
            note(f"the choice of dcc tune is not used: {reason}; run dcc tune again")
        return None
    encoder, matcher = (replace(w, threads=threads or w.threads) for w in (choice.encoder, choice.matcher))
    if device == "cpu" and not (encoder.on_cpu and matcher.on_cpu):
        return None
    try:
        return open_ways(bundle, encoder, matcher, on_note)
    except DccError as error:
        note(f"the choice of dcc tune is not used: {error}")
        return None


def open_ways(
    bundle: Bundle, encoder: Way, matcher: Way, on_note: Callable[[str], None] = lambda text: None
) -> Backend:
    """Both graphs, each in its way; one that keeps features on a GPU must be that of both.

    Raises :class:`EngineError`, :class:`NotVerifiedError` for engines that disagree with their graphs, and
    :class:`BundleError` for another grid.
    """
    if encoder.on_gpu or matcher.on_gpu:
        return _open_on_gpu(bundle, encoder, matcher, on_note)
    ways = {ENCODER: encoder, MATCHER: matcher}
    first, second = load_both(bundle, lambda name: open_graph(bundle, name, ways[name]))
    titles = [way_title(way) for way in (encoder, matcher)]
    how = titles[0] if titles[0] == titles[1] else f"{ENCODER} in {titles[0]}, {MATCHER} in {titles[1]}"
    description = f"{how}, as dcc tune chose"
    if isinstance(first, OnnxRuntimeGraph) and isinstance(second, OnnxRuntimeGraph):
        return OnnxRuntimeBackend(first, second, description)  # which also takes batches
    return TwoGraphsBackend(first, second, description)


def open_graph(bundle: Bundle, name: str, way: Way) -> OnnxRuntimeGraph | OpenVinoGraph:
    """One graph, on the host. Raises :class:`EngineError`."""
    path = bundle.graph_path(name)
    if way.backend == "openvino":
        return OpenVinoGraph(path, "CPU", way.threads, BFLOAT16 if way.bf16 else FLOAT32)
    return OnnxRuntimeGraph(path, way.provider, 0, way.threads)


def way_title(way: Way) -> str:
    """Engine, version and device of a way to run a graph on the host."""
    return openvino_title("CPU", way.bf16) if way.backend == "openvino" else onnxruntime_title(way.provider)


def _open_on_gpu(bundle: Bundle, encoder: Way, matcher: Way, on_note: Callable[[str], None]) -> Backend:
    if encoder != matcher:
        raise EngineError("features that stay on a GPU cannot be matched by another engine")
    if encoder.backend == "tensorrt":
        return TensorRTBackend.open(bundle, 0, trust=False, on_note=on_note)
    backend = OnnxRuntimeGpuBackend.open(bundle, "cuda", 0, encoder.threads)
    backend.require_agreement(bundle, tf32=False)
    return backend
