"""Runs a benchmark with anything that encodes and matches: every backend takes this road."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.feature_store import FeatureStore
from dccnet.evaluation.journal import Identity, Journal
from dccnet.evaluation.models import Subject
from dccnet.evaluation.scoring import Case, Outcome
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.writers import encode_flo


@dataclass(frozen=True, slots=True)
class Run:
    """What an evaluation did; the outcomes are those of all cases, in the benchmark's order."""

    outcomes: tuple[Outcome, ...]
    resumed: int
    """Pairs that an earlier run had scored."""
    pictures: int
    """Different ones, in the pairs of this run."""
    encoded: int
    """How often one was encoded: more than ``pictures`` where memory did not suffice."""


def evaluate(
    subject: Subject,
    benchmark: Benchmark,
    alphas: Sequence[float],
    *,
    folder: Path | None = None,
    restart: bool = False,
    flow_folder: Path | None = None,
    budget: int = 4 << 30,
    on_pair: Callable[[int], None] = lambda done: None,
) -> Run:
    """Score every pair, continuing what ``folder`` holds of the same evaluation.

    ``flow_folder`` receives a dense flow for each pair, in the layout of TSS's kit. ``budget`` is bytes of
    features. ``on_pair`` hears how many are done. Raises :class:`DccError`.
    """
    if flow_folder is not None:
        _keep_the_truth(benchmark, flow_folder)
    with contextlib.ExitStack() as stack:
        journal = None
        done: dict[int, Outcome] = {}
        if folder is not None:
            journal = stack.enter_context(Journal(folder, identity(subject, benchmark, alphas), restart))
            done = journal.outcomes
        cases = benchmark.cases
        numbers = [n for n, case in enumerate(cases) if _pending(n, case, done, flow_folder)]
        resumed = len(cases) - len(numbers)
        turns = [(cases[n].pair.source, cases[n].pair.target) for n in numbers]
        store = FeatureStore(subject.encode, subject.nbytes, turns, budget)
        on_pair(resumed)
        for turn, number in enumerate(numbers):
            case = cases[number]
            result = subject.match(*store.take(turn, turns[turn]))
            if flow_folder is not None:
                _write_flow(flow_folder / case.flow_path, result)
            outcome = benchmark.score(case, result, alphas)
            if number not in done and journal is not None:
                journal.add(number, outcome)
            done[number] = outcome
            on_pair(resumed + turn + 1)
    if len(done) != len(cases):
        raise DccError(f"{folder} holds pairs that are not in the benchmark: begin again with --restart")
    outcomes = tuple(done[number] for number in range(len(cases)))
    return Run(outcomes, resumed, store.pictures, store.encoded)


def identity(subject: Subject, benchmark: Benchmark, alphas: Sequence[float]) -> Identity:
    """What makes two evaluations the same one."""
    return {
        "benchmark": benchmark.name,
        "protocol": benchmark.protocol,
        "alphas": list(alphas),
        "list_sha256": benchmark.digest,
        "pairs": len(benchmark.cases),
        "model_sha256": subject.digest,
        "backend": subject.backend,
    }


def _pending(number: int, case: Case, done: dict[int, Outcome], flow_folder: Path | None) -> bool:
    return number not in done or (flow_folder is not None and not (flow_folder / case.flow_path).exists())


def _keep_the_truth(benchmark: Benchmark, flow_folder: Path) -> None:
    """Raises :class:`UsageError` where a flow would be written over a true one."""
    for case in benchmark.cases:
        written = (flow_folder / case.flow_path).resolve()
        if written.parent == Path(case.pair.source.key).resolve().parent:
            raise UsageError(f"--flow {flow_folder} would overwrite the true flows: name another folder")


def _write_flow(path: Path, result: Correspondences) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_flo(result.flow(from_="b")))
