"""The search for the layers that can be changed within a budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from dccnet.calibration.agreement import AgreementTest, cost, unit
from dccnet.calibration.candidates import Candidates
from dccnet.calibration.sensitivity import Sensitivity
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.manifest import Agreement


@dataclass(frozen=True, slots=True)
class PrecisionPlan:
    """The groups that are changed, and what they cost together."""

    groups: tuple[str, ...]
    layers: tuple[str, ...]
    """Layers of these groups; for half precision, steps."""
    agreement: Agreement
    tried: int
    """Number of combinations that were measured."""


def search(
    candidates: Candidates,
    sensitivities: Sequence[Sensitivity],
    budget: float,
    test: AgreementTest,
    on_trial: Callable[[int], None] = lambda groups: None,
) -> PrecisionPlan:
    """Change as much arithmetic as possible at a cost of at most ``budget``, greedily.

    Starts with all groups. While they cost too much, removes the group that costs most for its arithmetic.
    Then tries to add each removed group again, the largest first. Every combination is measured, because
    costs do not add up. Decisions depend on matches and multiply-accumulates and not on times, so that the
    same frames give the same plan. ``on_trial`` is called with the number of groups before each
    measurement. Raises :class:`NotVerifiedError` where no group fits the budget.
    """
    tried = 0

    def trial(kept: Collection[Sensitivity]) -> Agreement:
        nonlocal tried
        tried += 1
        on_trial(len(kept))
        return test.measure(candidates.matcher(_layers(kept)))

    kept = list(sensitivities)
    removed: list[Sensitivity] = []
    agreement = trial(kept)
    while kept and cost(agreement) > budget:
        worst = max(kept, key=lambda s: (_rate(s), -s.group.macs))
        kept.remove(worst)
        removed.append(worst)
        agreement = trial(kept) if kept else agreement
    for candidate in sorted(removed, key=lambda s: -s.group.macs):
        with_it = trial([*kept, candidate])
        if cost(with_it) <= budget:
            kept.append(candidate)
            agreement = with_it
    if not kept:
        cheapest = min(sensitivities, key=lambda s: cost(s.agreement))
        raise NotVerifiedError(
            f"nothing can be {candidates.name} within a budget of {budget:g} {unit(agreement)}: "
            f"{cheapest.group.name} alone costs {cost(cheapest.agreement):.2f}; raise --budget, or try "
            "another --method or --level"
        )
    kept = [s for s in sensitivities if s in kept]  # in the order of the network
    return PrecisionPlan(tuple(s.group.name for s in kept), _layers(kept), agreement, tried)


def _rate(sensitivity: Sensitivity) -> float:
    """Cost for each multiply-accumulate; groups that improve the matches by chance cost nothing."""
    return max(cost(sensitivity.agreement), 0.0) / max(sensitivity.group.macs, 1)


def _layers(kept: Collection[Sensitivity]) -> tuple[str, ...]:
    return tuple(layer for sensitivity in kept for layer in sensitivity.group.layers)
