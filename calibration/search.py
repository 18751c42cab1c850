"""The search for a plan, as the command shows it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from calibration.build import Quantiser
from calibration.loss import Exam
from calibration.plan import search, write_plan
from calibration.sensitivity import find_groups, measure
from calibration.tables import sensitivity_table
from runtime.console import console, note, progress_bar


def search_and_report(
    quantiser: Quantiser, exam: Exam, level: str, budget: float, report: Path | None, *, as_json: bool
) -> set[str]:
    """Measure each group alone, search, print the table, write plan and picture; returns the layers.

    The table goes to stdout, or to stderr where stdout is for machines. Raises what
    :func:`~calibration.plan.search` raises.
    """
    groups = find_groups(quantiser, level)
    with progress_bar() as progress:
        task = progress.add_task("", total=len(groups))
        sensitivities = []
        for group in groups:
            progress.update(task, description=f"{group.name} alone")
            sensitivities.append(measure(quantiser, group, exam))
            progress.advance(task)
        plan = search(
            quantiser,
            sensitivities,
            budget,
            exam,
            lambda count: progress.update(task, description=f"{count} of {len(groups)} groups together"),
        )
    out = console if as_json else Console(highlight=False, soft_wrap=True)
    out.print(sensitivity_table(sensitivities, plan))
    if report is not None:
        from calibration.picture import draw

        plan_file, picture = report / "plan.json", report / "sensitivity.png"
        write_plan(plan_file, quantiser, plan, sensitivities, budget, level)
        draw(picture, sensitivities, plan.groups, budget)
        note(f"wrote {plan_file} and {picture}")
    return set(plan.layers)
