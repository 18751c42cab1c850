"""Where an export's time goes: seconds of each phase of ``dcc export``, and its memory.

    python benchmarks/export.py MODEL.safetensors [--json FILE] [-- OPTIONS OF dcc export ...]

MODEL is a checkpoint, such as ``dcc init --preset dccnet -o untrained.safetensors`` writes. Each phase's
seconds leave out the phases inside it; processor seconds count all threads, and other programs on the
machine falsify them less. Phases inside PyTorch's exporter are timed in private functions of the installed
version; what this version has under other names is counted in "other steps".

Where a second process traces the matcher, the phases are those of the first, with its wait for the other,
and all of the other's processor seconds are one row. ``OMP_NUM_THREADS=1`` leaves all to one process.
The peaks of memory are resident sets, which both count libraries that they share.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from results import save

from dccnet.calibration.bench.alone import peak_mb
from dccnet.export import matcher_process
from dccnet.runtime.garbage import no_garbage_collection

_EXPORTER = "torch.onnx._internal.exporter"
PHASES = {
    "trace": ["torch.export:export"],
    "replace operations": ["dccnet.export.program:_replace"],
    "decompose": [f"{_EXPORTER}._fx_passes:decompose_with_registry"],
    "promote types": [f"{_EXPORTER}._fx_passes:insert_type_promotion_nodes"],
    "list translations": [f"{_EXPORTER}._registration:ONNXRegistry.from_torchlib"],
    "translate": [f"{_EXPORTER}._core:_exported_program_to_onnx_program"],
    "optimise": ["onnxscript.optimizer:optimize_ir", f"{_EXPORTER}._onnx_program:ONNXProgram.optimize"],
    "write and read back": ["onnx:save", "dccnet.export.onnx_file:describe_onnx"],
    "open in ONNX Runtime": ["dccnet.runtime.matcher:Matcher.open"],
    "encode and match in ONNX Runtime": [
        f"dccnet.runtime.matcher:Matcher.{name}" for name in ("encode", "match")
    ],
    "encode in PyTorch": ["dccnet.export.verify:one_thread_each"],
    "wait for the second process": ["dccnet.export.matcher_process:MatcherProcess.wait"],
    "match in PyTorch": ["dccnet.inference:TorchMatcher.match_encoded"],
}
"""Functions by the phase that they are counted in, each ``module:name``."""
IMPORTS, OTHER, SECOND = "import", "other steps", "second process, beside the others"
Seconds = dict[str, list[float]]
"""Seconds and processor seconds by phase."""


class Clock:
    """Measures phases, without those that begin and end inside them."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}
        self._inside: list[list[float]] = []

    def time(self, phase: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter(), time.process_time()
        self._inside.append([0.0, 0.0])
        try:
            return function()
        finally:
            passed = time.perf_counter() - started[0], time.process_time() - started[1]
            inner = self._inside.pop()
            own = self.seconds.setdefault(phase, [0.0, 0.0])
            for i in (0, 1):
                own[i] += passed[i] - inner[i]
                if self._inside:
                    self._inside[-1][i] += passed[i]

    def watch(self, phase: str, place: str) -> None:
        """Count the function at ``module:name`` in ``phase``, if there is one."""
        module, _, name = place.partition(":")
        *owners, last = name.split(".")
        try:
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            function = vars(owner)[last]
        except (ImportError, AttributeError, KeyError):
            return
        bound = function.__func__ if isinstance(function, classmethod) else function

        @functools.wraps(bound)
        def watched(*arguments: Any, **keywords: Any) -> Any:
            return self.time(phase, lambda: bound(*arguments, **keywords))

        setattr(owner, last, classmethod(watched) if isinstance(function, classmethod) else watched)


def measure(model: str, options: list[str]) -> Seconds:
    """Seconds of each phase of one export."""
    clock = Clock()
    process = matcher_process.second_process(Path(model))  # before the imports, as the command does
    matcher_process.second_process = lambda _: process
    clock.time(IMPORTS, _import)
    for phase, places in PHASES.items():
        for place in places:
            clock.watch(phase, place)
    from dccnet.export.commands import export_command

    with tempfile.TemporaryDirectory() as folder:
        arguments = [model, "-o", str(Path(folder) / "bundle"), *options]
        with contextlib.redirect_stdout(sys.stderr):
            clock.time(OTHER, lambda: export_command.main(arguments, standalone_mode=False))
    if process is not None:
        process.close()
        used = os.times()
        clock.seconds[SECOND] = [0.0, used.children_user + used.children_system]
    return clock.seconds


@no_garbage_collection()
def _import() -> None:
    for name in ("torch._dynamo", "onnxruntime", "onnxscript", "dccnet.export.build"):
        importlib.import_module(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--json")
    parser.add_argument("options", nargs="*", help="of dcc export, behind --")
    chosen = parser.parse_args()
    seconds = measure(chosen.model, chosen.options)
    peaks = {"first": peak_mb()}
    if SECOND in seconds:
        peaks["second"] = getrusage(RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds["all"] = [sum(values) for values in zip(*seconds.values(), strict=True)]
    print(f"{'':34}  seconds  processor seconds")
    for phase, (wall, processor) in sorted(seconds.items(), key=lambda row: -row[1][1]):
        print(f"{phase:34}  {wall:7.2f}  {processor:17.2f}")
    print("peak of memory: " + ", ".join(f"{name} process {mb:.0f} MB" for name, mb in peaks.items()))
    save(chosen.json, model=chosen.model, options=chosen.options, seconds=seconds, peak_mb=peaks)


if __name__ == "__main__":
    main()
