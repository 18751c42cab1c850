"""A search for a plan as the command shows it: progress, a table, and the files of ``--report``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dccnet.calibration.agreement import AgreementTest
from dccnet.calibration.candidates import Candidates
from dccnet.calibration.plan_file import write_plan_file
from dccnet.calibration.search import PrecisionPlan, search
from dccnet.calibration.sensitivity import measure
from dccnet.calibration.settings import SearchSettings
from dccnet.calibration.tables import sensitivity_table
from dccnet.runtime.console import console, print_wide, progress_bar
from dccnet.runtime.messages import note

WIDTH = 110
_NONE: Mapping[str, float] = {}


def search_and_report(
    candidates: Candidates,
    test: AgreementTest,
    settings: SearchSettings,
    details: Callable[[Sequence[str]], dict[str, Any]],
    barred: Mapping[str, float] = _NONE,
) -> PrecisionPlan:
    """Measure each group alone, search for a plan, print the table, and write plan and plot.

    Groups in ``barred``, each with its headroom, are not changed. ``details`` returns, for the layers of
    the plan, the fields of the plan file that only this precision has. Raises what
    :func:`~dccnet.calibration.search.search` raises.
    """
    groups = [group for group in candidates.groups(settings.level) if group.name not in barred]
    with progress_bar() as progress:
        task = progress.add_task("", total=len(groups))
        sensitivities = []
        for group in groups:
            progress.update(task, description=f"{group.name} alone")
            sensitivities.append(measure(candidates, group, test))
            progress.advance(task)
        plan = search(
            candidates,
            sensitivities,
            settings.budget,
            test,
            lambda count: progress.update(task, description=f"{count} of {len(groups)} groups together"),
        )
    table = sensitivity_table(sensitivities, plan, candidates.name, barred)
    if settings.table_to_stderr:
        console.print(table)
    else:
        print_wide(table, WIDTH)
    if settings.report is not None:
        from dccnet.calibration.plot import draw

        plan_file, plot = settings.report / "plan.json", settings.report / "sensitivity.png"
        write_plan_file(plan_file, plan, sensitivities, settings, details(plan.layers))
        draw(plot, sensitivities, plan.groups, settings.budget, candidates.name)
        note(f"wrote {plan_file} and {plot}")
    return plan
