"""Where a graph's time goes in ONNX Runtime, by operator, and what share of the peak each reaches.

    python benchmarks/operators.py BUNDLE/matcher.onnx [--runs 5] [--threads 1] [--rows 12] [--json FILE]

Runs the graph on random inputs with ONNX Runtime's own profiler, after two runs that are not counted. The
peak is what a product of two matrices of 2048 x 2048 numbers reaches in ONNX Runtime, in turns with the
graph; convolutions can be somewhat above it. "At peak" is the time that an operator's multiplications would
take there. They are counted from the shapes of matrix products and convolutions; other operators only move
numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from results import save

SIDE = 2048
FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def session(model: str | bytes, threads: int, profile: str | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def random_inputs(graph: ort.InferenceSession) -> dict[str, Any]:
    """Features of unit length, as a matcher gets them; a batch of one."""
    numbers, inputs = np.random.default_rng(0), {}
    for value in graph.get_inputs():
        shape = [side if isinstance(side, int) else 1 for side in value.shape]
        x = numbers.standard_normal(shape)
        if len(shape) == 4:
            x /= np.linalg.norm(x, axis=1, keepdims=True)
        inputs[value.name] = x.astype(FLOATS[value.type])
    return inputs


def peak_product() -> bytes:
    """A graph that multiplies two matrices."""
    a, b, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIDE, SIDE]) for name in "aby")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"])], "product", [a, b], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


def multiplications(operator: str, inputs: list[list[int]], output: list[int]) -> int:
    """Of one call of an operator."""
    if "MatMul" in operator and len(inputs) > 1:
        return math.prod(output) * inputs[0][-1]
    if operator == "Gemm":
        return math.prod(output) * math.prod(inputs[0]) // output[0]
    if operator in ("Conv", "FusedConv") and len(inputs) > 1:
        return math.prod(output) * math.prod(inputs[1][1:])
    return 0


def shapes(described: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for value in described for shape in value.values()]


def measure(path: Path, runs: int, threads: int) -> tuple[dict[tuple[str, str], list[float]], float, float]:
    """By operator and shape of its output: seconds, multiplications and calls of a run; seconds of a run;
    and multiplications per second at the peak."""
    product = session(peak_product(), threads)
    matrices = {name: np.random.default_rng(1).random((SIDE, SIDE), np.float32) for name in "ab"}
    with tempfile.TemporaryDirectory() as folder:
        graph = session(str(path), threads, f"{folder}/profile")
        inputs, whole, at_peak = random_inputs(graph), [], []
        for _ in range(runs + 2):
            started = time.perf_counter()
            graph.run(None, inputs)
            whole.append(time.perf_counter() - started)
            started = time.perf_counter()
            product.run(None, matrices)
            at_peak.append(time.perf_counter() - started)
        events = json.loads(Path(graph.end_profiling()).read_text())
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    kernels = kernels[len(kernels) // (runs + 2) * 2 :]
    found: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for event in kernels:
        about = event["args"]
        outputs = shapes(about["output_type_shape"])
        row = found[about["op_name"], "x".join(map(str, outputs[0])) if outputs else ""]
        row[0] += event["dur"] / 1e6 / runs
        row[1] += multiplications(about["op_name"], shapes(about["input_type_shape"]), outputs[0]) / runs
        row[2] += 1 / runs
    return dict(found), float(np.median(whole[2:])), SIDE**3 / float(np.median(at_peak[2:]))


def line(name: str, seconds: float, count: float, whole: float, peak: float) -> str:
    text = f"{name:58}  {1000 * seconds:8.1f}  {seconds / whole:6.1%}"
    if not count:
        return text
    return f"{text}  {count / 1e9:7.2f}  {count / seconds / peak:6.1%}  {1000 * count / peak:8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("graph", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--json")
    options = parser.parse_args()
    found, whole, peak = measure(options.graph, options.runs, options.threads)
    total = sum(seconds for seconds, *_ in found.values())
    print(f"a run: {1000 * whole:.1f} ms; peak: {peak / 1e9:.1f} billion multiplications a second")
    print(f"{'':58}  {'ms':>8}  {'share':>6}  {'GMAC':>7}  {'peak':>6}  {'at peak':>8}")
    rows = sorted(found.items(), key=lambda row: -row[1][0])
    for (operator, shape), (seconds, count, calls) in rows[: options.rows]:
        print(line(f"{calls:3.0f} {operator} {shape}", seconds, count, total, peak))
    kinds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (operator, _), (seconds, count, _) in rows:
        kinds[operator if count else "all that only moves numbers"][0] += seconds
        kinds[operator if count else "all that only moves numbers"][1] += count
    for kind, (seconds, count) in sorted(kinds.items(), key=lambda kind: -kind[1][0]):
        print(line(f"all {kind}" if count else kind, seconds, count, total, peak))
    print(line("everything", total, sum(count for _, count, _ in found.values()), total, peak))
    save(options.json, seconds=whole, peak=peak, operators=[[*key, *row] for key, row in rows])


if __name__ == "__main__":
    main()
