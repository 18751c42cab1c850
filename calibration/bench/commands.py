"""``dcc bench``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from dccnet.runtime.option_types import (
    Whole,
    device_option,
    threads_option,
    trust_engine_option,
)

_ENDS = (".md", ".json")


@click.command("bench")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="DIR|LIST|VIDEO",
    help="Pictures to match: a .csv of pairs, with keypoints or without, a folder, a glob or a video.  "
    "[default: photographs that come with dcc]",
)
@click.option(
    "--pairs", type=Whole(1), default=16, show_default=True, help="Number of pairs to compare on."
)
@click.option("--rounds", type=Whole(3), default=20, show_default=True, help="Number of turns of each row.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(["onnxruntime", "openvino", "tensorrt"]),
    help="Backends to measure, each in a row of its own; repeatable.  [default: onnxruntime and, where "
    "there is a GPU, tensorrt]",
)
@device_option
@threads_option
@click.option("--bf16", is_flag=True, help="Add a row with OpenVINO in bfloat16.")
@trust_engine_option
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write the table to: .md or .json. Can be given twice.",
)
@click.option("--json", "to_json", is_flag=True, help="Print JSON.")
def bench_command(
    bundles: tuple[Path, ...],
    data: str | None,
    pairs: int,
    rounds: int,
    backends: tuple[str, ...],
    device: str,
    threads: int,
    bf16: bool,
    trust_engine: bool,
    outputs: tuple[Path, ...],
    to_json: bool,
) -> None:
    """Compare BUNDLEs: size, speed, memory, and agreement of the matches with the first row.

    \b
    dcc bench bundle bundle-int8 --data test_pairs.csv -o bench.md
    dcc bench bundle half half-int8 --backend tensorrt --json

    A BUNDLE is a folder, a name that dcc models lists, or an address. Name the float32 bundle first. Every
    row runs once to warm up, then all take turns in one process. Load time and memory are measured in
    separate processes. Rows that cannot run say why.
    """
    from dccnet.calibration.agreement import PROTOCOL, find_pairs
    from dccnet.calibration.bench.measure import bench, environment
    from dccnet.calibration.bench.tables import as_json, markdown, problems, terminal_table
    from dccnet.export.bundles.samples import PICTURES
    from dccnet.runtime.console import note, print_wide, steps, warn
    from dccnet.runtime.errors import DccError, UsageError
    from dccnet.runtime.files import write_text
    from dccnet.runtime.images import find_images
    from dccnet.runtime.models.names import open_bundle
    from dccnet.runtime.selection import BackendChoice

    if bf16 and "openvino" not in backends:
        raise UsageError("--bf16 goes with --backend openvino")
    for output in outputs:
        if output.suffix not in _ENDS:
            raise UsageError(f"cannot write '{output}': the table is written as .md or .json")
    test_pairs = find_pairs(data or str(PICTURES), pairs, open_bundle(bundles[0], note).manifest.image_size)
    if not test_pairs:
        raise UsageError(f"--data {data} has no two different pictures to match")
    choices = [
        BackendChoice(backend, _device(backend, device), None, threads, trust_engine, bf16=in_bf16)
        for backend in dict.fromkeys(backends or _usable_backends(note))
        for in_bf16 in ((False, True) if bf16 and backend == "openvino" else (False,))
    ]
    first, second = sorted(find_images(PICTURES))[:2]
    with steps("measuring", len(bundles) * len(choices) + rounds) as step:
        rows = bench(bundles, choices, test_pairs, (str(first), str(second)), rounds, step, warn)
    how = (
        f"{rounds} turns each after one to warm up; compared with the first row on {len(test_pairs)} pairs"
    )
    if any(row.matcher_gpu_ms is not None for row in rows):
        how += "; times are the host's, beside them encoder + matcher alone on the GPU's own clock"
    if any(row.agreement is not None and row.agreement.pck is not None for row in rows):
        how += f"; {PROTOCOL}"
    facts = environment(choices)
    if to_json:
        click.echo(as_json(rows, facts, how), nl=False)
    else:
        print_wide(terminal_table(rows), 200)
    for problem in problems(rows):
        warn(problem)
    note(how)
    for output in outputs:
        write_text(output, (as_json if output.suffix == ".json" else markdown)(rows, facts, how))
        note(f"wrote {output}")
    if all(row.problem for row in rows):
        raise DccError("no row could run: dcc doctor says what this machine can do")


def _usable_backends(on_note: Callable[[str], None]) -> list[str]:
    """Those that can run on this machine, for a user who names none."""
    from dccnet.runtime.cuda import cuda_problem

    problem = cuda_problem()
    if problem is None:
        return ["onnxruntime", "tensorrt"]
    on_note(f"onnxruntime alone, because {problem}")
    return ["onnxruntime"]


def _device(backend: str, device: str) -> str:
    """The device of a backend: without ``--device``, the CPU but for TensorRT, to compare engines with."""
    return "cpu" if device == "auto" and backend != "tensorrt" else device
