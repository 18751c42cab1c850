"""The search for a plan, as the command shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dccnet.calibration.candidates import Variants
from dccnet.calibration.groups import Level
from dccnet.calibration.loss import Exam
from dccnet.calibration.plan import Plan, search, write_plan
from dccnet.calibration.sensitivity import measure
from dccnet.calibration.tables import sensitivity_table
from dccnet.runtime.console import console, note, print_wide, progress_bar

WIDTH = 110
_NOTHING: Mapping[str, float] = {}


def search_and_report(
    variants: Variants,
    exam: Exam,
    level: Level,
    budget: float,
    report: Path | None,
    details: Callable[[Sequence[str]], dict[str, Any]],
    *,
    barred: Mapping[str, float] = _NOTHING,
    as_json: bool,
) -> Plan:
    """Measure each group alone, search, print the table, write plan and picture.

    ``barred`` groups, each with its headroom, are not to be changed. ``details`` of the layers that are go
    into the plan's file. The table goes to stdout, or to stderr where stdout is for machines. Raises what
    :func:`~dccnet.calibration.plan.search` raises.
    """
    groups = [group for group in variants.groups(level) if group.name not in barred]
    with progress_bar() as progress:
        task = progress.add_task("", total=len(groups))
        sensitivities = []
        for group in groups:
            progress.update(task, description=f"{group.name} alone")
            sensitivities.append(measure(variants, group, exam))
            progress.advance(task)
        plan = search(
            variants,
            sensitivities,
            budget,
            exam,
            lambda count: progress.update(task, description=f"{count} of {len(groups)} groups together"),
        )
    table = sensitivity_table(sensitivities, plan, variants.name, barred)
    if as_json:
        console.print(table)
    else:
        print_wide(table, WIDTH)
    if report is not None:
        from dccnet.calibration.plot import draw

        plan_file, picture = report / "plan.json", report / "sensitivity.png"
        write_plan(plan_file, plan, sensitivities, budget, level, details(plan.layers))
        draw(picture, sensitivities, plan.groups, budget, variants.name)
        note(f"wrote {plan_file} and {picture}")
    return plan
