"""The table of sensitivities in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from dccnet.calibration.agreement import cost, unit
from dccnet.calibration.search import PrecisionPlan
from dccnet.calibration.sensitivity import Sensitivity


def sensitivity_table(
    sensitivities: Sequence[Sensitivity], plan: PrecisionPlan, name: str, barred: Mapping[str, float]
) -> Table:
    """A table with a row for each group, in the order of the network, and one for the plan.

    ``name`` is the precision that groups change to. Groups in ``barred``, each with its headroom, were not
    measured, because they could overflow.
    """
    first = sensitivities[0].agreement
    table = Table(title=f"{name} in each group alone", title_justify="left")
    table.add_column("group", no_wrap=True)
    for column in (f"cost, {unit(first)}", "changed", "moved px", "MMAC", "kB saved", "ms saved"):
        table.add_column(column, justify="right")
    table.add_column("plan")
    for s in sensitivities:
        table.add_row(
            s.group.name,
            f"{cost(s.agreement):.2f}",
            f"{s.agreement.changed_cells:.2%}",
            f"{s.agreement.displacement:.2f}",
            f"{s.group.macs / 1e6:.1f}",
            f"{s.group.bytes_saved / 1e3:.0f}",
            f"{1e3 * s.seconds_saved:+.2f}",
            name if s.group.name in plan.groups else "",
        )
    for group, headroom in barred.items():
        table.add_row(group, "overflows", *[""] * 5, f"headroom {headroom:.2g}")
    kept = [s for s in sensitivities if s.group.name in plan.groups]
    table.add_section()
    table.add_row(
        "the plan, together",
        f"{cost(plan.agreement):.2f}",
        f"{plan.agreement.changed_cells:.2%}",
        f"{plan.agreement.displacement:.2f}",
        f"{sum(s.group.macs for s in kept) / 1e6:.1f}",
        f"{sum(s.group.bytes_saved for s in kept) / 1e3:.0f}",
        "",
        f"{len(kept)} of {len(sensitivities)}",
        style="bold",
    )
    return table
