"""Train and score every row with every seed; finished runs are kept, interrupted ones resume."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path
from typing import Any

import torch

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.models import open_model
from dccnet.evaluation.results import to_dict
from dccnet.evaluation.results import write_results as write_evaluation
from dccnet.evaluation.runner import EvaluationOptions, evaluate
from dccnet.evaluation.scored_list import ScoredList
from dccnet.evaluation.summary import summarise
from dccnet.runtime.console import progress_bar
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import DccError
from dccnet.runtime.files import write_text
from dccnet.runtime.locks import folder_lock
from dccnet.runtime.messages import note, warn
from dccnet.runtime.reading import read_json
from dccnet.runtime.selection import BackendChoice
from dccnet.training.ablation.gaps import row_gaps
from dccnet.training.ablation.output import write_results
from dccnet.training.ablation.plan import Plan, write_plan
from dccnet.training.ablation.results import Results, RunResult
from dccnet.training.ablation.rows import Row
from dccnet.training.datasets import datasets
from dccnet.training.run import resume_run, start_run
from dccnet.training.settings import BRANCH_WEIGHTS, RunFolder, TrainSettings
from dccnet.training.state import Progress

ADVICE = "wait for it, or choose another folder"
RESULT = "result.json"
"""File in a run's folder: written after training, and again with the scores."""


def sweep(plan: Plan, folder: Path) -> Results:
    """Do the runs of ``plan`` that are missing in ``folder``; write the results after each of them.

    A run that fails is marked in its row, and the next sweep tries it again. Raises :class:`DccError` for
    problems that would fail every run: settings, lists, a folder that is in use or cannot be written.
    """
    datasets(plan.model, TrainSettings(**plan.training))
    benchmark = scored_list(plan).load()
    with folder_lock(folder, f"another sweep is running in {folder}", ADVICE, warn):
        write_plan(folder, plan)
        runs = plan.runs()
        results = Results(plan, benchmark.protocol, len(benchmark.cases))
        for row, seed in runs:
            done = _read(run_folder(folder, row, seed))
            if done is not None and done.pck is not None:
                results.runs[row.key, seed] = done
        finished = f", {len(results.runs)} of them are done" if results.runs else ""
        seeds = ", ".join(map(str, plan.seeds))
        note(f"{len(plan.rows())} networks, each with seed {seeds}: {len(runs)} runs{finished}")
        note(f"each is scored on {benchmark.title}: {plan.scored_description}")
        for number, (row, seed) in enumerate(runs, start=1):
            if (row.key, seed) not in results.runs:
                note(f"[{number}/{len(runs)}] {row.label}, seed {seed}")
                result = _attempt(plan, row, seed, run_folder(folder, row, seed), benchmark)
                results.runs[row.key, seed] = result
                write_results(folder, results)
        results.gaps.update(row_gaps(results, benchmark, lambda row, seed: run_folder(folder, row, seed)))
        write_results(folder, results)  # the plan may have more rows than the files
        return results


def run_folder(folder: Path, row: Row, seed: int) -> Path:
    return folder / row.key / f"seed{seed}"


def scored_list(plan: Plan) -> ScoredList:
    """The list that runs are scored on, with the options of the training lists."""
    training = plan.training
    return ScoredList("pairs", plan.test, training["root"], training["protocol"], training["one_based"])


def train(path: Path, row: Row, training: dict[str, Any], seed: int) -> Progress:
    """Start or continue the run in ``path``."""
    if RunFolder(path).can_resume:
        return resume_run(str(path), None)[1]
    if not row.model.auxiliary_loss:  # λ and γ concern the other rows
        training = {name: value for name, value in training.items() if name not in BRANCH_WEIGHTS}
    return start_run(str(path), row.model, training | {"seed": seed})[1]


def _attempt(plan: Plan, row: Row, seed: int, path: Path, benchmark: Benchmark) -> RunResult:
    try:
        trained = _read(path)  # exists if the sweep was stopped during scoring
        if trained is None:
            progress = train(path, row, plan.training, seed)
            scored = progress.epoch - (progress.stale_epochs if plan.scored == "best" else 0)
            trained = RunResult(seed, epochs=progress.epoch, scored_epoch=scored)
            _write(path, trained)
        return _score(plan, trained, path, benchmark)
    except (
        DccError,
        RuntimeError,
        MemoryError,
    ) as error:  # PyTorch's out-of-memory error is a RuntimeError
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
    gc.collect()  # free the memory of the failed network
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    warn(f"{row.label}, seed {seed} failed: {reason}")
    return RunResult(seed, error=reason)


def _score(plan: Plan, trained: RunResult, path: Path, benchmark: Benchmark) -> RunResult:
    alphas = (plan.training["alpha"],)
    run = RunFolder(path)
    checkpoint = run.best if plan.scored == "best" else run.last
    model = open_model(checkpoint, BackendChoice("pytorch", plan.training["device"]))
    with progress_bar() as bar:
        task = bar.add_task("scoring", total=len(benchmark.cases))
        outcomes = evaluate(
            model,
            benchmark,
            alphas,
            EvaluationOptions(path),
            on_pair=lambda done: bar.update(task, completed=done),
        ).outcomes
    summary = summarise(
        benchmark,
        outcomes,
        alphas,
        model=str(checkpoint),
        model_sha256=model.digest,
        backend=model.backend,
    )
    result = dataclasses.replace(trained, pck=summary.headline[0], model_sha256=model.digest)
    write_evaluation(path, benchmark, outcomes, summary)
    scored_list(plan).write(path)  # dcc compare reads the list again
    _write(path, result, to_dict(summary))
    note(f"PCK@{alphas[0]:g} on {benchmark.title}: {result.pck:.2f}")
    return result


def _write(path: Path, result: RunResult, evaluation: dict[str, Any] | None = None) -> None:
    content = dataclasses.asdict(result) | {"evaluation": evaluation}
    write_text(path / RESULT, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _read(path: Path) -> RunResult | None:
    """The stored result of a trained run; None if the file is missing or damaged."""
    try:
        content = read_json(path / RESULT)
        known = {field.name: content[field.name] for field in dataclasses.fields(RunResult)}
        return decode(RunResult, known)
    except (OSError, ValueError, KeyError, TypeError):
        return None
