"""``dcc demo``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dccnet.runtime.option_types import Whole

if TYPE_CHECKING:
    from dccnet.demo.run import DemoReport


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder to write to.",
)
@click.option("--seed", type=Whole(0), default=1, show_default=True, help="Seed of all random numbers.")
@click.option("--json", "as_json", is_flag=True, help="Print the measurements as JSON.")
def demo(output: Path, seed: int, as_json: bool) -> None:
    """Train a small DCCNet, export it in single and half precision, compile engines, match a pair and a
    video, and measure the errors against known truth.

    Takes some minutes on two cores. Needs pip install '.[demo]' and no other download.
    """
    from rich.table import Table

    from dccnet.runtime.console import note, print_wide
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.extras import required
    from dccnet.runtime.locks import output_lock

    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UsageError(f"{output} is not an empty folder: choose another folder with -o")
    with required("the demo", "demo"):
        from dccnet.demo.run import ALPHA, run_demo
    from dccnet.training.cpu import fast_cpu_settings

    with output_lock(output), fast_cpu_settings():
        report = run_demo(output, seed)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report)))
        return
    table = Table("measured", "this network", "for comparison")
    table.add_row(
        f"PCK@{ALPHA} (box), held-out warps",
        f"{report.pck_after:.1f} %",
        f"{report.pck_before:.1f} % before training, "
        f"{report.pck_nearest_neighbour:.1f} % nearest neighbour",
    )
    height, width = report.stereo_size
    table.add_row(
        f"stereo pair, {width}x{height}, mean error",
        f"{report.stereo_mean_error:.1f} px",
        f"{report.stereo_mean_error_nearest_neighbour:.1f} px nearest neighbour",
    )
    table.add_row("  the same in half precision", f"{report.stereo_mean_error_half:.1f} px", "")
    table.add_row(
        "video, 640x480, mean error",
        f"{report.video_mean_error:.1f} px",
        f"{report.video_mean_error_unmoved:.1f} px if nothing moved",
    )
    table.add_row("video, annotated and written", f"{report.video_frames_per_s:.1f} frames/s", "")
    table.add_row("same best cell in ONNX as in PyTorch", f"{report.identical_cells:.2%}", "")
    half = report.half
    table.add_row(
        f"half precision, same best cell where it leads by {half.margin:.0%}",
        f"{half.identical_cells:.2%}",
        f"{half.headroom:.0f} times below overflow",
    )
    for record in half.engines:
        table.add_row(
            f"engine of the {record.graph}, {record.targets[0]} to {record.targets[-1]}",
            record.precision,
            f"{record.bytes / 1e6:.1f} MB, built in {record.build_seconds:.1f} s, not run",
        )
    table.add_row(
        "time, training / total", f"{report.training_seconds:.0f} s", f"{report.total_seconds:.0f} s"
    )
    print_wide(table, 100)
    note(_meaning(report, ALPHA))
    note(
        f"look at {output}/matches.png, points.png, warped.png and video-matched.mp4, and at a cat and a "
        "raccoon by the built-in model: animals.jpg, animals-points.jpg and morph.mp4"
    )
    note(f"next: dcc match {output}/bundle A.jpg B.jpg -o matches.jpg")


def _meaning(report: DemoReport, alpha: float) -> str:
    """What the table says, in one sentence."""
    better = "more" if report.pck_after > report.pck_before else "no more"
    return (
        f"in short: after {report.training_seconds:.0f} s of training, the network places "
        f"{report.pck_after:.0f} of 100 points of pictures that it has never seen within {alpha:.0%} of "
        f"their object's size, {better} than the {report.pck_before:.0f} before it; the bundle, which "
        f"needs no PyTorch, agrees in {report.identical_cells:.1%} of the best matches; and points of the "
        f"video are off by {report.video_mean_error:.1f} pixels on average"
    )
