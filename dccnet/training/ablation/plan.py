"""The plan of a sweep, stored in its folder so that the sweep can be resumed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.network.config import ModelConfig
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import CheckpointError, DataError, UsageError
from dccnet.runtime.files import sha256, write_text
from dccnet.runtime.reading import read_json
from dccnet.training.ablation.rows import METHODS, Row, check_kernels, default_kernels, make_rows

PLAN = "sweep.json"
LISTS = ("data", "validate", "test")
PATHS = ("data", "synthetic", "validate", "root", "feature_cache")
_LATER = {
    "tf32": False,
    "skip_unreadable": False,
    "lambda_local": 1.0,
    "gamma_context": 1.0,
    "count_start": None,
    "log": ["tensorboard"],
}
"""Settings of training that 0.1 did not have, and their defaults."""
MAY_GROW = ("tables", "kernels", "seeds")
"""Fields that may be extended later, because that only adds runs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that determines a sweep's results. Paths are absolute, so any folder can resume it."""

    base: str
    model: ModelConfig
    tables: tuple[int, ...]
    kernels: tuple[int, ...]
    seeds: tuple[int, ...]
    training: dict[str, Any]
    """Fields of :class:`~dccnet.training.settings.TrainSettings`, the same for all runs."""
    test: str
    """List of pairs with keypoints that every run is scored on."""
    list_sha256: dict[str, str]
    methods: tuple[str, ...] = ()
    """The methods to train, by the names of their presets; all methods of the tables if empty."""

    def rows(self) -> list[Row]:
        rows = make_rows(self.base, self.model, self.tables, self.kernels)
        return [row for row in rows if not self.methods or METHODS[row.method] in self.methods]

    def runs(self) -> list[tuple[Row, int]]:
        """All runs as (row, seed): all rows with the first seed, then with the next."""
        return [(row, seed) for seed in self.seeds for row in self.rows()]

    @property
    def scored(self) -> str:
        """The checkpoint of a run that is scored: ``best`` or ``last``."""
        if self.validates_on_test:
            return "last"
        return "best" if self.training["validate"] or self.training["synthetic"] else "last"

    @property
    def scored_description(self) -> str:
        """The scored epoch in words, with the reason."""
        if self.validates_on_test:
            return "the last epoch, because the best would be chosen by this list, which also validates"
        if self.training["validate"]:
            return f"the best epoch on {Path(self.training['validate']).name}"
        if self.training["synthetic"]:
            return "the best epoch on held-out warped photographs"
        return "the last epoch, because there is no validation list"

    @property
    def validates_on_test(self) -> bool:
        """Whether the scored list, or a copy of it, would choose the best epoch."""
        return self.list_sha256.get("validate") == self.list_sha256["test"]


def make_plan(
    base: str,
    model: ModelConfig,
    training: Mapping[str, Any],
    test: str | None,
    *,
    tables: Sequence[int],
    kernels: Sequence[int] | None,
    seeds: Sequence[int],
    methods: Sequence[str] = (),
) -> Plan:
    """The plan of a new sweep; ``training`` has the fields of the training settings.

    ``test`` defaults to the validation list, ``kernels`` to the usual ones of the base, ``methods`` (names
    of presets) to all.
    Raises :class:`UsageError` for options that do not fit together, :class:`DataError` for missing lists.
    """
    training = {name: value for name, value in training.items() if name != "seed"}
    test = test or training["validate"]
    if test is None:
        raise UsageError("give --test LIST to score on, or a --validate LIST that serves for both")
    if kernels is None:
        kernels = default_kernels(base, model)
    if 5 in tables:
        check_kernels(model, kernels)
    for name in PATHS:
        if training.get(name) is not None:
            training[name] = _absolute(training[name])
    if training["weights"] not in ("imagenet", "random"):
        training["weights"] = _absolute(training["weights"])
    test = _absolute(test)
    plan = Plan(
        base, model, tuple(tables), tuple(kernels), tuple(seeds), training, test,
        list_sha256=_digests(training, test), methods=tuple(methods),
    )  # fmt: skip
    if not plan.rows():
        raise UsageError(
            f"table {','.join(map(str, tables))} has no row of {','.join(methods)}: add "
            "--tables 4, which has all methods"
        )
    if training["patience"] is not None and plan.validates_on_test:
        raise UsageError(
            "--patience would stop training by the list that is scored: give --test another list"
        )
    return plan


def read_plan(folder: Path) -> Plan:
    """The plan of the sweep in ``folder``, with the hashes of its lists as they are now.

    Raises :class:`CheckpointError` if the plan, and :class:`DataError` if a list is missing or damaged.
    """
    if not (folder / PLAN).exists():
        raise CheckpointError(f"{folder} holds no sweep: there is no {PLAN}; start one with -o")
    kept = _read(folder / PLAN)
    return dataclasses.replace(kept, list_sha256=_digests(kept.training, kept.test))


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the plan. Raises :class:`UsageError` if the folder holds another sweep or other files."""
    path = folder / PLAN
    if path.exists():
        _check_same(folder, _read(path), plan)
    elif folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise UsageError(f"{folder} holds other files and no sweep: choose an empty folder with -o")
    write_text(path, json.dumps(_plain(plan), indent=2) + "\n")


def _absolute(path: str) -> str:
    return str(Path(path).absolute())  # not resolved: the pictures of a linked list are beside the link


def _check_same(folder: Path, kept: Plan, asked: Plan) -> None:
    old, new = _flat(kept), _flat(asked)
    changes = []
    for name in old | new:
        if name.startswith("list_sha256."):
            if old.get(name) != new.get(name):
                changes.append(f"another {name.partition('.')[2]} list")
        elif name == "methods":
            if new[name] and not (old[name] and set(old[name]) <= set(new[name])):
                changes.append(f"its rows are {_text(old[name]) or 'all'}, not {_text(new[name])}")
        elif name in MAY_GROW:
            if not set(old[name]) <= set(new[name]):
                changes.append(f"its {name} {_text(old[name])} are not all among {_text(new[name])}")
        elif old.get(name) != new.get(name):
            field = name.rpartition(".")[2]
            changes.append(f"its {field} is {_text(old.get(name))}, not {_text(new.get(name))}")
    if changes:
        raise UsageError(
            f"{folder} holds another sweep ({'; '.join(changes)}): choose another folder with -o, or "
            f"continue that sweep with dcc ablate --resume {folder}"
        )


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def _flat(plan: Plan) -> dict[str, Any]:
    """All fields by their path; settings that an older plan does not have yet are as they were then."""
    flat: dict[str, Any] = {f"training.{name}": value for name, value in _LATER.items()}
    for name, value in _plain(plan).items():
        flat |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _plain(plan: Plan) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(plan)))
    return values


def _read(path: Path) -> Plan:
    try:
        return decode(Plan, read_json(path))
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): start a new sweep in another folder"
        ) from error


def _digests(training: Mapping[str, Any], test: str) -> dict[str, str]:
    lists = {name: training.get(name) for name in LISTS} | {"test": test}
    digests = {}
    for name, path in lists.items():
        if path is None:
            continue
        try:
            digests[name] = sha256(Path(path))
        except FileNotFoundError:
            raise DataError(f"the pair list {path} does not exist") from None
        except OSError as error:
            raise DataError(f"the pair list {path} cannot be read: {error.strerror or error}") from error
    return digests
