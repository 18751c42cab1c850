"""A plot of cost against gain, with a dot for each group of layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from dccnet.calibration.agreement import cost, unit
from dccnet.calibration.sensitivity import Sensitivity
from dccnet.runtime.files import atomic_path

_LABELLED = 12
"""Number of groups with a label: those with the largest costs and gains."""


def draw(
    path: Path,
    sensitivities: Sequence[Sensitivity],
    chosen: Collection[str],
    budget: float,
    name: str,
) -> None:
    """Write a PNG with the share of the arithmetic on the x axis and the cost on the y axis.

    Dots of the groups in ``chosen`` are filled. ``name`` is the precision that groups change to: ``INT8``
    or ``float16``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    total = max(sum(s.group.macs for s in sensitivities), 1)
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for inside, colour, label in ((True, "#1b6ca8", name), (False, "#c44536", "unchanged")):
        group = [s for s in sensitivities if (s.group.name in chosen) == inside]
        if group:
            gains = [100 * s.group.macs / total for s in group]
            costs = [cost(s.agreement) for s in group]
            face = colour if inside else "none"
            axes.scatter(gains, costs, s=36, edgecolors=colour, facecolors=face, label=label)
    ranked = sorted(sensitivities, key=lambda s: -(cost(s.agreement) + 10 * s.group.macs / total))
    for s in ranked[:_LABELLED]:
        place = (100 * s.group.macs / total, cost(s.agreement))
        axes.annotate(
            s.group.name.removeprefix("backbone."),
            place,
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=8,
        )
    axes.axhline(
        budget, color="grey", linewidth=1, linestyle="--", label=f"budget for all together: {budget:g}"
    )
    axes.axhline(0, color="grey", linewidth=0.5)
    axes.set_xlabel(f"share of the multiply-accumulates that can be {name}, %")
    axes.set_ylabel(f"cost of {name} in this group alone, {unit(sensitivities[0].agreement)}")
    axes.legend(frameon=False, fontsize=8)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
