"""Whether another way to run a graph answers as ONNX Runtime on the CPU does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from dccnet.calibration.agreement import AgreementTest, TestPair
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.manifest import ENCODER, MATCHER, GpuRecord
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph, Run
from dccnet.runtime.tensorrt.comparison import compare_runs
from dccnet.runtime.two_graphs import LoadedGraph, TwoGraphsBackend

INT8_SHARE = 0.5
"""Of the cells whose matches INT8 changed when the bundle was made: engines round its products differently,
and may change up to this share of them."""


class Judge:
    """Compares graphs in other engines with ``encoder`` and ``matcher``, which run on the CPU."""

    def __init__(
        self,
        bundle: Bundle,
        encoder: OnnxRuntimeGraph,
        matcher: OnnxRuntimeGraph,
        pairs: Sequence[TestPair],
    ) -> None:
        """``pairs`` are real pictures, by which INT8 graphs are compared."""
        self._bundle, self._pairs = bundle, pairs
        self._graphs: dict[str, LoadedGraph] = {ENCODER: encoder, MATCHER: matcher}

    def problem(self, name: str, graph: LoadedGraph, bf16: bool) -> str | None:
        """Why the graph ``name`` may not be run by ``graph``; None where both agree.

        A graph without INT8 is held to the criteria of engines; one with it to what INT8 itself changed.
        """
        graphs = self._graphs | {name: graph}
        if "int8" in self._bundle.manifest.graphs[name].precision:
            return self._problem_of_int8(graphs)
        runs: tuple[Run, Run] = graphs[ENCODER].run, graphs[MATCHER].run
        found = compare_runs(self._bundle, *runs, GpuRecord("CPU", (0, 0)), tf32=bf16)
        if found.passed:
            return None
        return f"{found.worst_tensor} differs by {found.worst_difference:.2g} of its norm or cells"

    def _problem_of_int8(self, graphs: dict[str, LoadedGraph]) -> str | None:
        made = self._bundle.manifest.calibration
        allowed = INT8_SHARE * made.agreement.changed_cells if made is not None else 0.0
        changed = self._test.measure(self._matcher(graphs)).changed_cells
        if changed <= allowed:
            return None
        return f"{changed:.1%} of the best matches differ, and {allowed:.1%} may"

    @cached_property
    def _test(self) -> AgreementTest:
        return AgreementTest.prepare(self._matcher(self._graphs), self._pairs)

    def _matcher(self, graphs: dict[str, LoadedGraph]) -> Matcher:
        backend = TwoGraphsBackend(graphs[ENCODER], graphs[MATCHER], "two graphs")
        return Matcher(self._bundle.manifest, backend, refine=False)
