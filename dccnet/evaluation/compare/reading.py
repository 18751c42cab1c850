"""Reads the folders of ``dcc eval``, and refuses those that cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.compare.folders import default_names, evaluations
from dccnet.evaluation.journal import read_outcomes
from dccnet.evaluation.results import RESULTS
from dccnet.evaluation.scored_list import read_scored_list
from dccnet.evaluation.scoring import Outcome
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.reading import read_json


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One evaluation of a model."""

    name: str
    folder: Path
    benchmark: str
    protocol: str
    list_sha256: str
    alphas: tuple[float, ...]
    model: str
    model_sha256: str
    backend: str
    outcomes: Sequence[Outcome]
    """One for each case, in the benchmark's order."""


def read_results(folders: Sequence[Path], names: Sequence[str] | None = None) -> list[Result]:
    """The evaluations in ``folders``, or in their subfolders where ``dcc eval`` scored several models, or
    those of a sweep's runs.

    ``names`` are those of the models, by default the folders', in a sweep its rows'. Raises
    :class:`UsageError` for folders without results, fewer than two, and results of different lists,
    protocols or thresholds.
    """
    named = [pair for folder in folders for pair in evaluations(folder)]
    found = [folder for folder, _ in named]
    if len(found) < 2:
        raise UsageError("name the folders of at least two evaluations (dcc eval -o), or one of dcc ablate")
    if names is None:
        names = default_names(named)
    elif len(names) != len(found) or len(set(names)) != len(names):
        raise UsageError(
            f"--names must be {len(found)} different names between commas, one for each result"
        )
    results = [_read(folder, name) for folder, name in zip(found, names, strict=True)]
    for other in results[1:]:
        _check_same(results[0], other)
    return results


def load_compared(results: Sequence[Result], data: Path | None, root: Path | None) -> Benchmark:
    """The benchmark of these results; ``data`` and ``root`` say where its files are now, if they moved.

    Raises :class:`UsageError` if its list has changed since, and :class:`DataError` if files are missing.
    """
    first = results[0]
    benchmark = read_scored_list(first.folder).at(data, root).load()
    if benchmark.digest != first.list_sha256 or len(benchmark.cases) != len(first.outcomes):
        raise UsageError(
            f"the list of {benchmark.title} has changed since {first.folder} was scored: name the list of "
            "then with --data, or evaluate again"
        )
    return benchmark


def shared_alphas(results: Sequence[Result]) -> tuple[float, ...]:
    """The thresholds that all results have. Raises :class:`UsageError` if there is none."""
    shared = tuple(a for a in results[0].alphas if all(a in result.alphas for result in results))
    if not shared:
        raise UsageError("the results have no threshold in common: evaluate all with the same --alpha")
    return shared


def _read(folder: Path, name: str) -> Result:
    path = folder / RESULTS
    try:
        values: dict[str, Any] = read_json(path)
        if values["benchmark"] == "video":
            raise UsageError(f"{folder} is an evaluation of videos, whose frames dcc compare does not pair")
        texts = [
            str(values[key])
            for key in ("benchmark", "protocol", "list_sha256", "model", "model_sha256", "backend")
        ]
        alphas = tuple(map(float, values["alphas"]))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DccError(f"{path} is damaged or no result of dcc eval ({error}): evaluate again") from error
    outcomes = read_outcomes(folder)
    if any(len(outcome.hits) != len(alphas) for outcome in outcomes):
        raise DccError(f"{folder} has pairs of another evaluation than {path.name}: evaluate again")
    kind, protocol, digest, model, model_digest, backend = texts
    return Result(name, folder, kind, protocol, digest, alphas, model, model_digest, backend, outcomes)


def _check_same(first: Result, other: Result) -> None:
    both = f"{first.folder} and {other.folder}"
    if first.benchmark != other.benchmark:
        raise UsageError(f"{both} are of different benchmarks, {first.benchmark} and {other.benchmark}")
    if first.protocol != other.protocol:
        raise UsageError(
            f"{both} have different protocols, which cannot be compared: {first.protocol} / "
            f"{other.protocol}"
        )
    if first.list_sha256 != other.list_sha256:
        raise UsageError(f"{both} were scored on different lists of pairs: evaluate both on one list")
    if [o.name for o in first.outcomes] != [o.name for o in other.outcomes]:
        raise UsageError(f"{both} do not have the same pairs: evaluate both again")
