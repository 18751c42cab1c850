"""The reliability diagram: how often matches of each confidence are right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dccnet.evaluation.confidence import BINS, ConfidenceScores
from dccnet.runtime.errors import UsageError
from dccnet.runtime.extras import required
from dccnet.runtime.files import atomic_path

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # Okabe and Ito
MARKERS = "os^Dv*"


def check_diagram(path: Path) -> None:
    """Raise :class:`DccError` without matplotlib, and :class:`UsageError` for another suffix than PNG's."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"the reliability diagram is a PNG: name it {path.with_suffix('.png')}")
    with required("the reliability diagram", "calibrate"):
        import matplotlib

        del matplotlib


def draw_reliability(path: Path, scores: Mapping[str, ConfidenceScores]) -> None:
    """Write a PNG with a line for each of ``scores``, by name.

    A dot is a tenth of the matches, at their mean confidence and the share of them that is right.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--", label="as it should be")
    for number, (name, found) in enumerate(scores.items()):
        area = "–" if found.auroc is None else f"{found.auroc:.2f}"
        axes.plot(
            [b.confidence for b in found.bins],
            [b.right for b in found.bins],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            label=f"{name}: AUROC {area}, error {found.calibration_error:.3f}",
        )
    within = ", ".join(dict.fromkeys(f"{100 * found.within:g} %" for found in scores.values()))
    axes.set_xlabel(f"confidence, mean of each of {BINS} bins of equally many matches")
    axes.set_ylabel(f"share within {within} of the picture's longer side")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
