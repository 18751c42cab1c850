"""The cost and the gain of changing each group of layers alone."""

from __future__ import annotations

from dataclasses import dataclass

from dccnet.calibration.agreement import AgreementTest, TestPair
from dccnet.calibration.candidates import Candidates
from dccnet.calibration.groups import Group
from dccnet.runtime.manifest import Agreement
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.turns import medians, take_turns

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Effect of changing one group, with all others unchanged."""

    group: Group
    agreement: Agreement
    seconds_saved: float
    """For one pair in ONNX Runtime on this CPU; negative if it became slower."""


def measure(candidates: Candidates, group: Group, test: AgreementTest) -> Sensitivity:
    """Compare the network in which only ``group`` is changed with the unchanged one."""
    before, after = candidates.matcher(()), candidates.matcher(group.layers)
    return Sensitivity(group, test.measure(after), seconds_saved(before, after, test.pairs[0]))


def seconds_saved(before: Matcher, after: Matcher, pair: TestPair) -> float:
    """Difference of the median times from pictures to matches, measured in turns."""
    runs = {"before": lambda: before.match(pair.a, pair.b), "after": lambda: after.match(pair.a, pair.b)}
    seconds = medians(take_turns(runs, ROUNDS))
    return seconds["before"] - seconds["after"]
