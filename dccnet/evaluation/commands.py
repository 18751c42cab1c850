"""``dcc eval``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dccnet.evaluation.machine_options import MACHINE, machine_options
from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import Number, refine_option, ways_options

if TYPE_CHECKING:
    from dccnet.evaluation.benchmark import Benchmark
    from dccnet.evaluation.intervals import Bootstrap
    from dccnet.evaluation.models import Model
    from dccnet.evaluation.runner import EvaluationOptions
    from dccnet.evaluation.scoring import Outcome
    from dccnet.evaluation.summary import Summary
    from dccnet.runtime.views.choices import Mirror


GROUPS = {
    "Input": "--benchmark --data --root --split --one-based --fps",
    "Scores": "--protocol --alpha --intervals --keep-border --refine --mirror --views",
    "Output": "--output --restart --flow --reliability --json",
    "Machine": f"{MACHINE} --cache-gb",
}


@click.command("eval", cls=GroupedCommand, groups=GROUPS)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=click.Path(path_type=Path))
@click.option(
    "--benchmark",
    required=True,
    type=click.Choice(["pf-pascal", "pf-willow", "tss", "spair", "pairs", "video"]),
    help="Benchmark to run; pairs is any list in PF-PASCAL's format, video frames with masks and joints.",
)
@click.option(
    "--data",
    required=True,
    metavar="DIR|LIST",
    type=click.Path(path_type=Path),
    help="Folder of the benchmark, or its list of pairs.",
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder that the list's paths start from.  [default: the benchmark's, or the list's own]",
)
@click.option(
    "--protocol",
    type=click.Choice(["bbox", "scnet", "img"]),
    help="What the threshold is relative to, for --benchmark pairs.  [default: bbox]",
)
@click.option(
    "--one-based/--zero-based",
    default=None,
    help="Whether coordinates start at 1 or 0, for --benchmark pairs.  [default: 0]",
)
@click.option(
    "--split", type=click.Choice(["test", "val", "trn"]), help="Split of SPair-71k.  [default: test]"
)
@click.option("--alpha", metavar="A,A...", help="Thresholds, such as 0.05,0.1.  [default: the benchmark's]")
@click.option(
    "--intervals",
    is_flag=True,
    help="Add 95 % confidence intervals, by a bootstrap of the photographs.",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for results.json, pairs.csv, report.html and the progress, to resume from; for "
    "--benchmark video: results.json, frames.csv and curves.svg.",
)
@click.option("--restart", is_flag=True, help="Discard the progress of an earlier run in -o.")
@click.option(
    "--flow",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write all flows there in the layout of the evaluation kit, for --benchmark tss.",
)
@click.option(
    "--keep-border",
    is_flag=True,
    help="For --benchmark tss: score matches on the source's border, which otherwise are misses.",
)
@machine_options
@click.option(
    "--cache-gb",
    type=Number(0),
    help="Memory for features of pictures, in GiB; not for --benchmark video.  [default: 4]",
)
@click.option(
    "--fps",
    type=Number(0, min_open=True),
    help="Frames per second, for --benchmark video.  [default: 24]",
)
@refine_option
@ways_options
@click.option(
    "--reliability",
    metavar="PNG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw how often matches of each confidence are right, for bundles with confidence.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def eval_command(
    models: tuple[Path, ...],
    benchmark: str,
    data: Path,
    root: Path | None,
    protocol: Any,
    one_based: bool | None,
    split: str | None,
    alpha: str | None,
    intervals: bool,
    output: Path | None,
    restart: bool,
    flow: Path | None,
    keep_border: bool,
    cache_gb: float | None,
    fps: float | None,
    refine: bool | None,
    mirror: Mirror,
    views: int,
    reliability: Path | None,
    as_json: bool,
    **choice: Any,
) -> None:
    """Score each MODEL on a benchmark: a checkpoint (.safetensors), a bundle, or a name of dcc models.

    \b
    dcc eval bundle --benchmark pairs --data test_pairs.csv -o results
    dcc eval model.safetensors bundle --benchmark pf-pascal --data pf-pascal
    dcc eval bundle --benchmark tss --data tss --flow flows
    dcc eval bundle --benchmark video --data folder -o results

    Two baselines are scored on the same pairs: the same relative place, and the nearest neighbour of the
    model's own features. Every score is printed and stored with its protocol (docs/evaluation.md). With -o,
    the same command resumes after any interruption. A bundle runs in the --backend, a checkpoint in
    PyTorch.

    On video, the baselines are points at rest, Lucas-Kanade, and the same nearest neighbour; only bundles
    run, and nothing resumes.
    """
    _keep_cores_free(models)
    from dccnet.evaluation.intervals import Bootstrap
    from dccnet.evaluation.models import open_model
    from dccnet.evaluation.options import output_folders, parse_alphas
    from dccnet.evaluation.results import to_dict, write_comparison
    from dccnet.evaluation.runner import DEFAULTS, EvaluationOptions
    from dccnet.evaluation.scored_list import ScoredList
    from dccnet.runtime.console import note, print_wide
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.selection import BackendChoice
    from dccnet.runtime.views.ways import Ways

    if flow is not None:
        _check_flow(benchmark, models)
    alphas = None if alpha is None else parse_alphas(alpha)
    folders = output_folders(models, output)
    if benchmark == "video":
        from dccnet.evaluation.video.command import evaluate_video, refuse

        refuse(root=root, protocol=protocol, split=split, intervals=intervals, restart=restart)
        refuse(
            mirror=mirror is not False,
            keep_border=keep_border,
            reliability=reliability,
            cache_gb=cache_gb is not None,
        )
        refuse(**{"one-based/--zero-based": one_based is not None})
        evaluate_video(models, folders, data, alphas, fps, BackendChoice(**choice), refine, views, as_json)
        return
    if fps is not None:
        raise UsageError("--fps applies to --benchmark video only")
    if reliability is not None:
        _check_reliability(reliability, benchmark, models)
    places = str(data), None if root is None else str(root)
    listed = ScoredList(benchmark, *places, protocol, one_based, split, keep_border)
    loaded = listed.load()
    note(f"protocol: {loaded.protocol}")
    bootstrap = Bootstrap([case.pair for case in loaded.cases]) if intervals else None
    budget = DEFAULTS.budget if cache_gb is None else int(cache_gb * 2**30)
    runs = []
    for path, folder in zip(models, folders, strict=True):
        model = open_model(path, BackendChoice(**choice), note, refine=refine, ways=Ways(mirror, views))
        note(f"{path}: running on {model.backend}")
        options = EvaluationOptions(folder, restart, flow_folder=flow, budget=budget, baselines=True)
        runs.append(_evaluate(model, loaded, alphas or loaded.alphas, options, bootstrap))
        if folder is not None:
            listed.write(folder)
    summaries = [summary for summary, _ in runs]
    if output is not None and len(runs) > 1:
        report = write_comparison(output, loaded, summaries, [outcomes for _, outcomes in runs])
        note(f"wrote {report}, which shows all models side by side")
    if reliability is not None:
        _draw_reliability(reliability, summaries)
    if as_json:
        results = [to_dict(summary) for summary in summaries]
        click.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2, allow_nan=False))
        return
    from dccnet.evaluation.tables import WIDTH, tables

    print_wide(tables(summaries), WIDTH)


def _keep_cores_free(models: Sequence[Path]) -> None:
    """Let NumPy's OpenBLAS use one thread, unless it is loaded or told otherwise.

    Its other threads wait busily for some 20 ms after each product, and there is one for each pair: they
    take a core from the network. PyTorch may need them, where it brings OpenBLAS, too.
    """
    if "numpy" not in sys.modules and not any(path.suffix == ".safetensors" for path in models):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _check_flow(benchmark: str, models: Sequence[Path]) -> None:
    from dccnet.runtime.errors import UsageError

    if benchmark != "tss":
        raise UsageError("--flow applies to --benchmark tss only")
    if len(models) > 1:
        raise UsageError("--flow takes one MODEL: its files would overwrite each other")


def _check_reliability(path: Path, benchmark: str, models: Sequence[Path]) -> None:
    """Raise a :class:`DccError` if the diagram could not be drawn; no model is loaded for that."""
    from dccnet.evaluation.models import require_confidence
    from dccnet.evaluation.reliability import check_diagram
    from dccnet.runtime.console import note
    from dccnet.runtime.errors import UsageError

    if benchmark == "tss":
        raise UsageError("--reliability takes a benchmark with keypoints: remove it for --benchmark tss")
    check_diagram(path)
    for model in models:
        require_confidence(model, note)


def _draw_reliability(path: Path, summaries: Sequence[Summary]) -> None:
    from dccnet.evaluation.reliability import draw_reliability
    from dccnet.evaluation.tables import label
    from dccnet.runtime.console import note

    draw_reliability(path, {label(s): s.confidence for s in summaries if s.confidence is not None})
    note(f"wrote {path}")


def _evaluate(
    model: Model,
    benchmark: Benchmark,
    alphas: tuple[float, ...],
    options: EvaluationOptions,
    bootstrap: Bootstrap | None,
) -> tuple[Summary, Sequence[Outcome]]:
    from dccnet.evaluation.results import write_results
    from dccnet.evaluation.runner import evaluate
    from dccnet.evaluation.summary import summarise
    from dccnet.runtime.console import note, progress_bar, warn

    started = time.perf_counter()
    try:
        with progress_bar() as progress:
            task = progress.add_task(str(model.path), total=len(benchmark.cases))
            run = evaluate(
                model,
                benchmark,
                alphas,
                options,
                on_pair=lambda done: progress.update(task, completed=done),
            )
    except KeyboardInterrupt:
        if options.folder is not None:
            note("stopped: the same command resumes from here")
        raise
    seconds = time.perf_counter() - started
    scored = len(run.outcomes) - run.resumed
    if run.resumed:
        note(f"{run.resumed} pairs had been scored before")
    if scored:
        note(
            f"{scored} pairs in {seconds:.1f} s ({scored / seconds:.1f} pairs/s), {run.pictures} pictures "
            f"encoded {run.encoded} times"
        )
    summary = summarise(
        benchmark,
        run.outcomes,
        alphas,
        model=str(model.path),
        model_sha256=model.digest,
        backend=model.backend,
        bootstrap=bootstrap,
    )
    if summary.outside:
        warn(f"{summary.outside} keypoints lie outside their pictures; they are scored nevertheless")
    if summary.without_size:
        verb = "pair has" if summary.without_size == 1 else "pairs have"
        warn(
            f"{summary.without_size} {verb} a box of no size, because it is around one keypoint: PCK is 0 "
            "there whatever the network finds; remove them from the list"
        )
    if options.folder is not None:
        paths = write_results(options.folder, benchmark, run.outcomes, summary)
        note(f"wrote {', '.join(map(str, paths))}")
    return summary, run.outcomes
