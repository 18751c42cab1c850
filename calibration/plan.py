"""What to change within a budget: searched, measured, and kept as a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.calibration.candidates import Variants
from dccnet.calibration.loss import PROTOCOL, Exam, cost, unit
from dccnet.calibration.sensitivity import Sensitivity
from dccnet.runtime.bundle import Agreement
from dccnet.runtime.errors import DataError, NotVerifiedError
from dccnet.runtime.files import write_text

SCHEMA = 2
INT8, HALF = "int8", "float16"


@dataclass(frozen=True, slots=True)
class Plan:
    """The groups that are changed, and what they cost together."""

    groups: tuple[str, ...]
    layers: tuple[str, ...]
    """Or steps, of half precision."""
    agreement: Agreement
    tried: int
    """Combinations that were measured."""


def search(
    variants: Variants,
    sensitivities: Sequence[Sensitivity],
    budget: float,
    exam: Exam,
    on_trial: Callable[[int], None] = lambda groups: None,
) -> Plan:
    """The most arithmetic that can be changed and cost no more than ``budget``, greedily.

    All groups first; then, until the cost of what is left fits, the one goes that costs most for its
    arithmetic; then each that went comes back, the largest first, if it fits after all. Every combination
    is measured, because costs do not add. Decisions rest on matches and multiply-accumulates, not on
    times, so that the same frames give the same plan. Raises :class:`NotVerifiedError` where nothing fits.
    """
    tried = 0

    def trial(kept: Collection[Sensitivity]) -> Agreement:
        nonlocal tried
        tried += 1
        on_trial(len(kept))
        with variants.matcher(_layers(kept)) as matcher:
            return exam.mark(matcher)

    kept = list(sensitivities)
    gone: list[Sensitivity] = []
    agreement = trial(kept)
    while kept and cost(agreement) > budget:
        worst = max(kept, key=lambda s: (_rate(s), -s.group.macs))
        kept.remove(worst)
        gone.append(worst)
        agreement = trial(kept) if kept else agreement
    for candidate in sorted(gone, key=lambda s: -s.group.macs):
        with_it = trial([*kept, candidate])
        if cost(with_it) <= budget:
            kept.append(candidate)
            agreement = with_it
    if not kept:
        cheapest = min(sensitivities, key=lambda s: cost(s.agreement))
        raise NotVerifiedError(
            f"nothing can be {variants.name} within a budget of {budget:g} {unit(agreement)}: "
            f"{cheapest.group.name} alone costs {cost(cheapest.agreement):.2f}; raise --budget, or try "
            "another --method or --level"
        )
    kept = [s for s in sensitivities if s in kept]  # in the order of the network
    return Plan(tuple(s.group.name for s in kept), _layers(kept), agreement, tried)


def write_plan(
    path: Path,
    plan: Plan,
    sensitivities: Sequence[Sensitivity],
    budget: float,
    level: str,
    details: Mapping[str, Any],
) -> None:
    """As docs/calibration.md describes it; ``details`` are what only this precision has."""
    values = {
        "schema": SCHEMA,
        **details,
        "level": level,
        "budget": {
            "at_most": budget,
            "unit": unit(plan.agreement),
            "protocol": None if plan.agreement.pck is None else PROTOCOL,
        },
        "layers": plan.layers,
        "groups": plan.groups,
        "agreement": dataclasses.asdict(plan.agreement),
        "combinations_measured": plan.tried,
        "sensitivity": [_row(s) for s in sensitivities],
    }
    write_text(path, json.dumps(values, indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What applying a plan needs of its file."""

    path: Path
    precision: str
    """``int8`` or ``float16``."""
    layers: tuple[str, ...]
    table: dict[str, Any] | None
    """Of INT8: the calibration table, of the layers' ranges."""
    method: str | None
    target: str | None

    def check(self, known: Collection[str], advice: str) -> None:
        """Raises :class:`DataError` where the plan names layers that are not among the ``known``."""
        for layer in self.layers:
            if layer not in known:
                raise DataError(
                    f"{self.path} is the plan of another network: it has {layer} in {self.precision}, "
                    f"which is not among what may be changed here; {advice}"
                )


def read_plan(path: Path) -> PlanFile:
    """Raises :class:`DataError` for what is no plan, or one of another schema."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError(f"its schema is {values['schema']}, and this dcc reads {SCHEMA}")
        plan = PlanFile(
            path,
            values["precision"],
            tuple(map(str, values["layers"])),
            values.get("table"),
            values.get("method"),
            values.get("target"),
        )
        if plan.precision not in (INT8, HALF):
            raise ValueError(f"its precision is {plan.precision}")
        if not plan.layers:
            raise ValueError("it names no layers")
    except OSError as error:
        raise DataError(f"the plan {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no plan, or was edited ({error}): make one with --budget") from error
    return plan


def _rate(sensitivity: Sensitivity) -> float:
    """Cost for each multiply-accumulate; a group that improves matters by chance costs nothing."""
    return max(cost(sensitivity.agreement), 0.0) / max(sensitivity.group.macs, 1)


def _layers(kept: Collection[Sensitivity]) -> tuple[str, ...]:
    return tuple(layer for sensitivity in kept for layer in sensitivity.group.layers)


def _row(sensitivity: Sensitivity) -> dict[str, Any]:
    return {
        "group": sensitivity.group.name,
        "layers": sensitivity.group.layers,
        "macs": sensitivity.group.macs,
        "bytes_saved": sensitivity.group.bytes_saved,
        "ms_saved": round(1e3 * sensitivity.seconds_saved, 3),
        **dataclasses.asdict(sensitivity.agreement),
    }
