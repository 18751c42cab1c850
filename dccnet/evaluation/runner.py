"""Runs a benchmark with a model in any backend."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.baseline import NEAREST_NEIGHBOUR, SAME_PLACE, same_place
from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.feature_store import FeatureStore
from dccnet.evaluation.journal import Identity, Journal
from dccnet.evaluation.models import Model
from dccnet.evaluation.pairs import Picture
from dccnet.evaluation.scoring import Case, Outcome
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.video.pipeline import Background, close_all
from dccnet.runtime.writers import encode_flo


@dataclass(frozen=True, slots=True)
class Run:
    """The result of an evaluation."""

    outcomes: tuple[Outcome, ...]
    """One per case, in the benchmark's order."""
    resumed: int
    """Number of pairs that an earlier run had scored."""
    pictures: int
    """Number of different pictures in the pairs of this run."""
    encoded: int
    """Number of encodings: more than ``pictures`` if memory was too small to keep all features."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """How to run an evaluation; none of these changes the model's scores."""

    folder: Path | None = None
    """Folder of the journal, from which the same evaluation is resumed."""
    restart: bool = False
    """Whether to ignore and replace the journal in ``folder``."""
    flow_folder: Path | None = None
    """Folder for a dense flow of each pair, in the layout of TSS's evaluation kit."""
    budget: int = 4 << 30
    """Memory for features, in bytes."""
    baselines: bool = False
    """Whether to score the baselines, too."""


DEFAULTS = EvaluationOptions()


def evaluate(
    model: Model,
    benchmark: Benchmark,
    alphas: Sequence[float],
    options: EvaluationOptions = DEFAULTS,
    on_pair: Callable[[int], None] = lambda done: None,
) -> Run:
    """Score every pair of the benchmark, in its order, while the next ones are encoded and matched.

    ``on_pair`` is called with the number of pairs that are done. Raises :class:`DccError`.
    """
    folder, flow_folder = options.folder, options.flow_folder
    if flow_folder is not None:
        _refuse_to_overwrite_truth(benchmark, flow_folder)
    with contextlib.ExitStack() as stack:
        journal = None
        done: dict[int, Outcome] = {}
        if folder is not None:
            journal = stack.enter_context(
                Journal(folder, identity(model, benchmark, alphas), options.restart)
            )
            done = journal.outcomes
        cases = benchmark.cases
        numbers = [n for n, case in enumerate(cases) if _pending(n, case, done, flow_folder)]
        resumed = len(cases) - len(numbers)
        turns = [(cases[n].pair.source, cases[n].pair.target) for n in numbers]
        store = FeatureStore(model.encode, model.nbytes, turns, options.budget, model.encode_target)
        on_pair(resumed)
        results = stack.enter_context(_matched(model, store, turns))
        for turn, (number, (a, b, result)) in enumerate(zip(numbers, results, strict=True)):
            case = cases[number]
            if flow_folder is not None and benchmark.flow is not None:
                _write_flow(flow_folder / case.flow_path, benchmark.flow(case, result, "cells"))
            outcome = benchmark.score(case, result, alphas)
            if options.baselines:
                hits = _baseline_hits(benchmark, case, alphas, result, model.nearest(a, b))
                outcome = dataclasses.replace(outcome, baseline_hits=hits)
            if number not in done and journal is not None:
                journal.add_outcome(number, outcome)
            done[number] = outcome
            on_pair(resumed + turn + 1)
    if len(done) != len(cases):
        raise DccError(f"{folder} holds pairs that are not in the benchmark: start again with --restart")
    outcomes = tuple(done[number] for number in range(len(cases)))
    return Run(outcomes, resumed, store.pictures, store.encoded)


def identity(model: Model, benchmark: Benchmark, alphas: Sequence[float]) -> Identity:
    """The values that must be equal for an evaluation to be resumed."""
    return {
        "benchmark": benchmark.name,
        "protocol": benchmark.protocol,
        "alphas": list(alphas),
        "list_sha256": benchmark.digest,
        "pairs": len(benchmark.cases),
        "model_sha256": model.digest,
        # Absent without confidence, as in journals of dccnet 0.1.
        **({} if model.confidence is None else {"confidence": dataclasses.asdict(model.confidence)}),
        "backend": model.backend,
        **({"refined": True} if model.refines else {}),  # absent from journals of before
    }


@contextlib.contextmanager
def _matched(
    model: Model, store: FeatureStore[Any], turns: Sequence[tuple[Picture, Picture]]
) -> Iterator[Iterator[tuple[Any, Any, Correspondences]]]:
    """Features of both pictures of each turn, and their matches, in order.

    One thread encodes and another matches, one pair at a time, so that memory is that of one match. An
    error is raised in its place: all turns before it are there.
    """
    features = Background(store.take(turn, pictures) for turn, pictures in enumerate(turns))
    results = Background((a, b, model.match(a, b)) for a, b in features)
    try:
        yield results
    finally:
        close_all((results, features))


def _pending(number: int, case: Case, done: dict[int, Outcome], flow_folder: Path | None) -> bool:
    return number not in done or (flow_folder is not None and not (flow_folder / case.flow_path).exists())


def _baseline_hits(
    benchmark: Benchmark,
    case: Case,
    alphas: Sequence[float],
    result: Correspondences,
    nearest: Correspondences | None,
) -> dict[str, tuple[int, ...]]:
    found = {SAME_PLACE: same_place(result.size_a, result.size_b), NEAREST_NEIGHBOUR: nearest}
    return {
        name: benchmark.score(case, baseline, alphas).hits
        for name, baseline in found.items()
        if baseline is not None
    }


def _refuse_to_overwrite_truth(benchmark: Benchmark, flow_folder: Path) -> None:
    """Raise :class:`UsageError` if a true flow would be overwritten."""
    for case in benchmark.cases:
        written = (flow_folder / case.flow_path).resolve()
        if written.parent == Path(case.pair.source.key).resolve().parent:
            raise UsageError(f"--flow {flow_folder} would overwrite the true flows: choose another folder")


def _write_flow(path: Path, flow: NDArray[np.float32]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_flo(flow))
