"""Which evaluations a folder stands for: those of ``dcc eval``, and the runs of ``dcc ablate``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dccnet.evaluation.options import distinct_names
from dccnet.evaluation.results import RESULTS
from dccnet.runtime.bundle import MANIFEST
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.reading import read_json

SWEEP = "sweep.json"
"""The file that tells the folder of a sweep."""


def holds_evaluations(path: Path) -> bool:
    """Whether a path is a folder that :func:`evaluations` takes, and no model."""
    if (path / MANIFEST).is_file():
        return False
    return (path / SWEEP).is_file() or any(path.glob(RESULTS)) or any(path.glob(f"*/{RESULTS}"))


def evaluations(folder: Path) -> list[tuple[Path, str | None]]:
    """The folders of the evaluations that ``folder`` stands for, and the names of a sweep's.

    Raises :class:`DccError` if there are none.
    """
    if (folder / SWEEP).is_file():
        return list(_sweep_runs(folder))
    if (folder / RESULTS).is_file():
        return [(folder, None)]
    found = sorted(path.parent for path in folder.glob(f"*/{RESULTS}"))
    if not found:
        raise UsageError(f"{folder} holds no results of dcc eval: there is no {RESULTS}; make it with -o")
    return [(path, None) for path in found]


def default_names(named: Sequence[tuple[Path, str | None]]) -> list[str]:
    """The names of a sweep's runs, and names after their paths for others. Raises :class:`UsageError` if a
    path is there twice."""
    paths = distinct_names([path for path, _ in named])
    names = [own or path for (_, own), path in zip(named, paths, strict=True)]
    return names if len(set(names)) == len(names) else paths  # such as those of two sweeps


def _sweep_runs(folder: Path) -> Iterator[tuple[Path, str]]:
    """The scored runs of the sweep in ``folder`` and their names, in the order of its rows.

    A name is the row's method, with the kernel and the seed where there are several. Raises
    :class:`DccError` where runs are missing.
    """
    path = folder / RESULTS
    try:
        values: dict[str, Any] = read_json(path)
        rows = [
            (str(row["method"]), row["kernel"], str(row["folder"]), row["runs"]) for row in values["rows"]
        ]
        scored = [
            (method, kernel, folder / key / f"seed{int(run['seed'])}", int(run["seed"]))
            for method, kernel, key, runs in rows
            for run in runs
            if run["pck"] is not None
        ]
    except FileNotFoundError:
        raise UsageError(
            f"no run of the sweep in {folder} is done: continue it with dcc ablate --resume {folder}"
        ) from None
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DccError(
            f"{path} is damaged ({error}): dcc ablate --resume {folder} writes it again"
        ) from error
    methods = Counter(method for method, *_ in rows)
    seeds = {seed for *_, seed in scored}
    for method, kernel, run, seed in scored:
        if not (run / RESULTS).is_file():
            raise UsageError(
                f"{run} has no {RESULTS}, because an earlier version scored it: evaluate its network with "
                "dcc eval -o, and compare that"
            )
        name = f"{method}, kernel {kernel}" if methods[method] > 1 else method
        yield run, f"{name}, seed {seed}" if len(seeds) > 1 else name
