"""Train and score every row with every seed; what is done stays done, what was interrupted goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.models import open_subject
from dccnet.evaluation.results import to_dict
from dccnet.evaluation.runner import evaluate
from dccnet.evaluation.summary import summarise
from dccnet.runtime.console import note, progress_bar, warn
from dccnet.runtime.errors import DccError
from dccnet.runtime.files import clear_scratch, lock, write_text
from dccnet.runtime.selection import Choice
from dccnet.training.ablation.output import write_results
from dccnet.training.ablation.plan import Plan, write_plan
from dccnet.training.ablation.results import Results, RunResult
from dccnet.training.ablation.rows import Row
from dccnet.training.run import datasets, resume_run, start_run
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.state import Progress

RESULT = "result.json"
"""Of a run, in its folder: how it was trained, then also how it scored."""


def sweep(plan: Plan, folder: Path) -> Results:
    """Do what is missing of ``plan`` in ``folder``, and write the results after every run.

    A run that fails is noted in its row and tried again by the next sweep. Raises :class:`DccError` for
    what would fail every run: settings, lists, a folder that cannot be written or is in use.
    """
    datasets(plan.model, TrainSettings(**plan.training))
    benchmark = scored_list(plan)
    write_plan(folder, plan)
    with alone_in(folder):
        clear_scratch(folder)
        runs = plan.runs()
        results = Results(plan, benchmark.protocol, len(benchmark.cases))
        for row, seed in runs:
            done = _read(run_folder(folder, row, seed))
            if done is not None and done.pck is not None:
                results.runs[row.key, seed] = done
        there = f", {len(results.runs)} of them are done" if results.runs else ""
        seeds = ", ".join(map(str, plan.seeds))
        note(f"{len(plan.rows())} networks, each with seed {seeds}: {len(runs)} runs{there}")
        note(f"each is scored on {benchmark.title}: {plan.why}")
        for number, (row, seed) in enumerate(runs, start=1):
            if (row.key, seed) not in results.runs:
                note(f"[{number}/{len(runs)}] {row.label}, seed {seed}")
                result = _attempt(plan, row, seed, run_folder(folder, row, seed), benchmark)
                results.runs[row.key, seed] = result
                write_results(folder, results)
        write_results(folder, results)  # what was asked for may be more than before
        return results


def run_folder(folder: Path, row: Row, seed: int) -> Path:
    return folder / row.key / f"seed{seed}"


def scored_list(plan: Plan) -> Benchmark:
    """The list that runs are scored on, read like the lists of training."""
    test, training = Path(plan.test), plan.training
    return load_benchmark(
        "pairs",
        test,
        Path(training["root"] or test.parent),
        protocol=training["protocol"],
        one_based=training["one_based"],
    )


def train(path: Path, row: Row, training: dict[str, Any], seed: int) -> Progress:
    """Start or continue the run in ``path``: all that a sweep asks of training."""
    if RunFolder(path).state.exists():
        return resume_run(str(path), None)[1]
    if path.exists():
        shutil.rmtree(path)  # it was stopped before its first save: there is nothing to go on with
    return start_run(str(path), row.model, training | {"seed": seed})[1]


def _attempt(plan: Plan, row: Row, seed: int, path: Path, benchmark: Benchmark) -> RunResult:
    try:
        trained = _read(path)  # stopped while it was scored
        if trained is None:
            progress = train(path, row, plan.training, seed)
            scored = progress.epoch - (progress.stale_epochs if plan.scored == "best" else 0)
            trained = RunResult(seed, epochs=progress.epoch, scored_epoch=scored)
            _write(path, trained)
        return _score(plan, trained, path, benchmark)
    except (DccError, RuntimeError, MemoryError) as error:  # PyTorch's for memory is a RuntimeError
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
    gc.collect()  # the failed network must not take memory from the next one
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    warn(f"{row.label}, seed {seed} failed: {reason}")
    return RunResult(seed, error=reason)


def _score(plan: Plan, trained: RunResult, path: Path, benchmark: Benchmark) -> RunResult:
    alphas = (plan.training["alpha"],)
    run = RunFolder(path)
    checkpoint = run.best if plan.scored == "best" else run.last
    subject = open_subject(checkpoint, Choice("pytorch", plan.training["device"]))
    with progress_bar() as bar:
        task = bar.add_task("scoring", total=len(benchmark.cases))
        outcomes = evaluate(
            subject, benchmark, alphas, folder=path, on_pair=lambda done: bar.update(task, completed=done)
        ).outcomes
    summary = summarise(
        benchmark,
        outcomes,
        alphas,
        model=str(checkpoint),
        model_sha256=subject.digest,
        backend=subject.backend,
    )
    result = dataclasses.replace(trained, pck=summary.headline[0], model_sha256=subject.digest)
    _write(path, result, to_dict(summary))
    note(f"PCK@{alphas[0]:g} on {benchmark.title}: {result.pck:.2f}")
    return result


def _write(path: Path, result: RunResult, evaluation: dict[str, Any] | None = None) -> None:
    content = dataclasses.asdict(result) | {"evaluation": evaluation}
    write_text(path / RESULT, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _read(path: Path) -> RunResult | None:
    """What an earlier sweep left of a run that was trained; a damaged file counts for nothing."""
    try:
        content = json.loads((path / RESULT).read_text(encoding="utf-8"))
        return RunResult(**{field.name: content[field.name] for field in dataclasses.fields(RunResult)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder. Raises :class:`DccError` where another sweep does."""
    with (folder / ".lock").open("w") as file:
        lock(file, f"another sweep is at work in {folder}: wait for it, or name another folder")
        yield
