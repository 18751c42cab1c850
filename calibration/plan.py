"""Which layers to quantise within a budget: searched, measured, and kept as a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.build import Quantiser
from calibration.loss import PROTOCOL, Exam, cost, unit
from calibration.sensitivity import Sensitivity
from runtime.bundle import Agreement
from runtime.errors import DataError, NotVerifiedError
from runtime.files import write_text

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The groups that become INT8, and what they cost together."""

    groups: tuple[str, ...]
    layers: tuple[str, ...]
    agreement: Agreement
    tried: int
    """Combinations that were measured."""


def search(
    quantiser: Quantiser,
    sensitivities: Sequence[Sensitivity],
    budget: float,
    exam: Exam,
    on_trial: Callable[[int], None] = lambda groups: None,
) -> Plan:
    """The most arithmetic in INT8 that costs no more than ``budget``, greedily.

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
        with quantiser.matcher(_layers(kept)) as matcher:
            return exam.mark(matcher)

    kept = list(sensitivities)
    gone: list[Sensitivity] = []
    agreement = trial(kept)
    while cost(agreement) > budget:
        worst = max(kept, key=lambda s: (_rate(s), -s.group.macs))
        kept.remove(worst)
        gone.append(worst)
        if not kept:
            cheapest = min(sensitivities, key=lambda s: cost(s.agreement))
            raise NotVerifiedError(
                f"nothing can be INT8 within a budget of {budget:g} {unit(agreement)}: "
                f"{cheapest.group.name} alone costs {cost(cheapest.agreement):.2f}; raise --budget, or try "
                "another --method or --level"
            )
        agreement = trial(kept)
    for candidate in sorted(gone, key=lambda s: -s.group.macs):
        with_it = trial([*kept, candidate])
        if cost(with_it) <= budget:
            kept.append(candidate)
            agreement = with_it
    kept = [s for s in sensitivities if s in kept]  # in the order of the network
    return Plan(tuple(s.group.name for s in kept), _layers(kept), agreement, tried)


def write_plan(
    path: Path,
    quantiser: Quantiser,
    plan: Plan,
    sensitivities: Sequence[Sensitivity],
    budget: float,
    level: str,
) -> None:
    """As docs/calibration.md describes it."""
    values = {
        "schema": SCHEMA,
        "made_from": {name: quantiser.bundle.manifest.graphs[name].sha256 for name in quantiser.models},
        "method": quantiser.method,
        "target": quantiser.target,
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
        "calibrated_on": [{"name": n, "sha256": d} for n, d in quantiser.table.frames],
        "sensitivity": [_row(s) for s in sensitivities],
    }
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_plan_layers(path: Path, known: Collection[str]) -> tuple[str, ...]:
    """The layers that a plan has in INT8. Raises :class:`DataError` for no plan, or of another network."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError(f"its schema is {values['schema']}, and this dcc reads {SCHEMA}")
        layers = tuple(map(str, values["layers"]))
        if not layers:
            raise ValueError("it names no layers")
    except OSError as error:
        raise DataError(f"the plan {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no plan, or was edited ({error}): make one with --budget") from error
    for layer in layers:
        if layer not in known:
            raise DataError(
                f"{path} is the plan of another network: it has {layer} in INT8, which is not among what "
                "may be quantised here; give the same --include, or make a plan with --budget"
            )
    return layers


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
