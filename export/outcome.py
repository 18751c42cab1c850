"""The verification of an export in words."""

from __future__ import annotations

from dccnet.export.bundles.ranges import LARGEST_FLOAT16
from dccnet.runtime.manifest import RangeReport, Verification


def summary(report: Verification) -> str:
    """The measured agreement, for people to read."""
    cells = "best cells"
    if report.margin > 0:
        cells += f" of the {report.counted_cells:.1%} that lead by {report.margin:.0%}"
    text = (
        f"{report.identical_cells:.2%} identical {cells}, largest score difference "
        f"{report.largest_score_difference:.1e} on {report.pairs} pairs"
    )
    if report.largest_fine_difference is not None:
        text += f"; fine features differ by at most {report.largest_fine_difference:.1e}"
    if report.ranges is not None:
        text += f"; all float16 tensors at least {report.ranges.headroom:.0f} times below overflow"
    return text


def failure(report: Verification) -> str | None:
    """The reason why an export is not verified, and what to do; None for one that is."""
    if report.passed:
        return None
    if report.ranges is not None and not report.ranges.sufficient:
        return _overflow(report.ranges)
    if report.distinct_cells == 1:
        return (
            "the network gives every cell the same match, as networks with dead 4D layers do; train it, "
            "or train it with another seed"
        )
    if report.counted_cells == 0:
        return (
            f"no cell's best match leads the second best by {report.margin:.0%}, which is typical of "
            "untrained networks, so there is nothing to compare; train it"
        )
    return (
        f"it does not agree with PyTorch: {summary(report)}; "
        f"at least {report.required_identical_cells:.1%} and at most {report.allowed_score_difference:g}"
        + (
            ""
            if report.allowed_fine_difference is None
            else f", and of fine features {report.allowed_fine_difference:g},"
        )
        + " are required"
    )


def _overflow(ranges: RangeReport) -> str:
    worst, required = ranges.tightest[0], ranges.required_headroom
    return (
        f"this network does not fit into float16: {worst.tensor} ({worst.operator}) in its {worst.graph} "
        f"reaches {worst.largest:.3g}, and only {LARGEST_FLOAT16 / required:.3g} leaves the required "
        f"headroom of {required:g} times; export it without --fp16"
    )
