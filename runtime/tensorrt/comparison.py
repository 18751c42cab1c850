"""Engines compared with the graphs that they were built from, on the GPU that runs them.

Each engine gets the same inputs as its graph in ONNX Runtime on the CPU: the encoder a synthetic frame, the
matcher the graph's own features of two such frames. Pictures are not needed, and the worst tensor shows
which engine is at fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from dccnet.runtime.agreement import criterion_for
from dccnet.runtime.arrays import Array, Image
from dccnet.runtime.backend import matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.geometry import Size
from dccnet.runtime.manifest import ENCODER, MATCHER, EngineComparison, GpuRecord
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph, Run
from dccnet.runtime.tensorrt.gpu_record import describe_gpu, gpu_record
from dccnet.runtime.tensorrt.runner import BoundEngine, Engine

DIFFERENCE = {"float32": 1e-3, "float16": 0.05}
"""Allowed difference of features and scores, relative to their norm. Half precision instead of float32
changes the features of a trained network by less than 0.01."""
NOISE = {"float32": 1e-4, "float16": 1e-2}
"""Relative noise on the matcher's inputs: cells whose best match it changes are near ties, which also
another order of summation decides differently. They are not compared."""
LARGEST = 1e6
"""Recorded for differences that are larger or not finite."""


class _Reference(NamedTuple):
    """What the graphs compute: inputs and outputs of both, and cells without near ties."""

    frame: Array
    """Input of the encoder."""
    features: tuple[dict[str, Array], dict[str, Array]]
    results: dict[str, Array]
    decided: dict[str, Array]
    """By the name of the output with best matches: whether each cell's match survives the noise."""


def synthetic_frames(size: Size) -> tuple[Image, Image]:
    """Two uint8 BGR frames ``(H, W, 3)`` that show the same random texture, moved and enlarged.

    They are always the same. The texture has details of every scale, as photographs have, and no two equal
    places, which would be ties.
    """
    height, width = size
    random = _random()
    texture = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 8):
        shape = (min(2**octave, height), min(2**octave, width), 3)
        noise = random.standard_normal(shape).astype(np.float32)
        texture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = texture.min(), texture.max()
    first = ((texture - low) * (255 / (high - low))).astype(np.uint8)
    move = np.array([[1.15, 0.05, -0.10 * width], [-0.05, 1.15, -0.05 * height]], np.float32)
    second = cv2.warpAffine(first, move, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return first, second.astype(np.uint8)


def compare_engines(
    bundle: Bundle, encoder: Engine, matcher: Engine, device: Device, *, tf32: bool = False
) -> EngineComparison:
    """Run both engines on the GPU, and compare them with the graphs as :func:`compare_runs` does.

    The device must be active; ``tf32``: the engines may use TF32.
    """
    run_encoder, run_matcher = (partial(_run_engine, engine, device) for engine in (encoder, matcher))
    return compare_runs(bundle, run_encoder, run_matcher, gpu_record(device), tf32=tf32)


def compare_runs(
    bundle: Bundle, run_encoder: Run, run_matcher: Run, gpu: GpuRecord, *, tf32: bool = False
) -> EngineComparison:
    """Compare what a GPU computes with the graphs on the CPU, by the criteria of ``dcc export``.

    The functions return outputs by name for inputs by name; ``tf32``: they may use TF32. Raises
    :class:`EngineError` where the graphs or the functions cannot run here.
    """
    # INT8 layers and TF32 are judged as half precision: they have as few bits, or fewer.
    exact = bundle.manifest.precision == "float32" and not tf32
    precision = "float32" if exact else "float16"
    criterion = criterion_for(precision, bundle.manifest.model.get("fusion"))
    reference = _run_graphs(bundle, NOISE[precision])
    features = run_encoder({"frame": reference.frame[None]})
    results = run_matcher(matcher_inputs(*reference.features))
    differences = {
        f"{ENCODER}: {name}": _relative(features[name], true)
        for name, true in reference.features[0].items()
    }
    same = {name: results[name] == reference.results[name] for name in reference.decided}
    counted = sum(int(decided.sum()) for decided in reference.decided.values())
    identical = sum(int((same[name] & decided).sum()) for name, decided in reference.decided.items())
    score_difference = 0.0
    for name in reference.results:
        found, true = results[name], reference.results[name]
        if name in same:
            decided = reference.decided[name]
            difference = 1 - float(same[name][decided].mean()) if decided.any() else 0.0
        else:
            if name.startswith("window"):  # around the best match: comparable where that is the same
                rows = same[name.replace("window", "index")].ravel()
                found, true = (values.reshape(rows.size, -1)[rows] for values in (found, true))
            difference = _relative(found, true)
            score_difference = max(score_difference, _bounded(np.abs(found - true).max(initial=0)))
        differences[f"{MATCHER}: {name}"] = difference
    values_agree = all(
        difference <= DIFFERENCE[precision]
        for name, difference in differences.items()
        if "index" not in name
    )
    worst = max(differences, key=lambda name: differences[name])
    share = identical / max(counted, 1)
    return EngineComparison(
        passed=values_agree
        and share >= criterion.identical_cells
        and score_difference <= criterion.score_difference,
        gpu=gpu,
        counted_cells=counted / sum(decided.size for decided in reference.decided.values()),
        identical_cells=share,
        largest_score_difference=score_difference,
        worst_tensor=worst,
        worst_difference=differences[worst],
    )


def require_agreement(bundle: Bundle, runs: tuple[Run, Run], device: str, what: str, rounded: bool) -> None:
    """Compare what runs on the host's own devices, encoder and matcher, by :func:`compare_runs`.

    ``device`` is recorded, ``what`` names the engine; ``rounded``: it may compute in half precision. Raises
    :class:`NotVerifiedError` where the results differ.
    """
    found = compare_runs(bundle, *runs, GpuRecord(device, (0, 0)), tf32=rounded)
    if not found.passed:
        raise NotVerifiedError(
            f"{what} disagrees with ONNX Runtime on the CPU: {found.worst_tensor} differs by "
            f"{found.worst_difference:.2g} of its norm or cells; use --device cpu"
        )


def disagreement(comparison: EngineComparison, who: str = "the engines") -> str:
    """What differs in a comparison that failed, in one sentence."""
    return (
        f"on {describe_gpu(comparison.gpu)}, {who} disagree with the graphs they were made from: "
        f"{comparison.worst_tensor} differs by {comparison.worst_difference:.2g} of its norm or cells, "
        f"{comparison.identical_cells:.1%} of the best matches are identical, and scores differ by up to "
        f"{comparison.largest_score_difference:.2g}"
    )


def _run_graphs(bundle: Bundle, noise: float) -> _Reference:
    formatted = bundle.manifest.frames
    first, second = map(formatted.of, synthetic_frames(formatted.size))
    encoder = OnnxRuntimeGraph(bundle.graph_path(ENCODER))
    a, b = (encoder.run({"frame": frame[None]}) for frame in (first, second))
    matcher, inputs, random = OnnxRuntimeGraph(bundle.graph_path(MATCHER)), matcher_inputs(a, b), _random()
    results = matcher.run(inputs)
    noisy = matcher.run(
        {
            name: (value * (1 + noise * random.standard_normal(value.shape))).astype(value.dtype)
            for name, value in inputs.items()
        }
    )
    decided = {name: results[name] == noisy[name] for name in results if name.startswith("index")}
    return _Reference(first, (a, b), results, decided)


def _run_engine(engine: Engine, device: Device, inputs: Mapping[str, Array]) -> dict[str, Array]:
    with contextlib.ExitStack() as undo:
        stream = device.create_stream()
        undo.callback(device.destroy_stream, stream)
        bound = BoundEngine(engine, device, stream)
        undo.callback(bound.close)
        undo.callback(device.synchronize, stream)
        sent = {i.name: np.ascontiguousarray(inputs[i.name], i.dtype) for i in engine.inputs}
        for name, values in sent.items():
            device.copy_to_device(bound.pointers[name], values, stream)
        bound.run(lambda failure: None)  # a first run is not captured
        results = {info.name: np.empty(info.shape, info.dtype) for info in engine.outputs}
        for name, values in results.items():
            device.copy_to_host(values, bound.pointers[name], stream)
        device.synchronize(stream)
        return results


def _relative(found: Array, true: Array) -> float:
    """Norm of the difference over the norm of ``true``."""
    true = true.astype(np.float64)
    norm = np.linalg.norm((found.astype(np.float64) - true).ravel())
    return _bounded(norm / max(np.linalg.norm(true.ravel()), np.finfo(np.float64).tiny))


def _bounded(difference: float) -> float:
    """A number that JSON can contain."""
    return min(float(difference), LARGEST) if np.isfinite(difference) else LARGEST


def _random() -> np.random.Generator:
    """The same numbers in every comparison."""
    return np.random.default_rng(0)
