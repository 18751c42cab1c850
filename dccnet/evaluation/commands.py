"""``dcc eval``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dccnet.evaluation.benchmark import Benchmark
    from dccnet.evaluation.models import Subject
    from dccnet.evaluation.summary import Summary


@click.command("eval")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=click.Path(path_type=Path))
@click.option(
    "--benchmark",
    required=True,
    type=click.Choice(["pf-pascal", "pf-willow", "tss", "spair", "pairs"]),
    help="pairs: any list in PF-PASCAL's columns.",
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
    help="Of --benchmark pairs: what the threshold is relative to.  [default: bbox]",
)
@click.option(
    "--one-based/--zero-based",
    default=None,
    help="Of --benchmark pairs: what coordinates count from.  [default: 0]",
)
@click.option(
    "--split", type=click.Choice(["test", "val", "trn"]), help="Of --benchmark spair.  [default: test]"
)
@click.option("--alpha", metavar="A,A...", help="Thresholds, such as 0.05,0.1.  [default: the benchmark's]")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for results.json, pairs.csv, report.html, and what a stopped run needs to continue.",
)
@click.option("--restart", is_flag=True, help="Forget what -o holds of an earlier run.")
@click.option(
    "--flow",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Of --benchmark tss: write every flow there, in the layout of its evaluation kit.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "pytorch", "onnxruntime", "tensorrt"]),
    default="auto",
    show_default=True,
    help="What runs the network.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--provider", type=click.Choice(["cpu", "cuda", "tensorrt"]), help="Of ONNX Runtime.")
@click.option("--trust-engine", is_flag=True, help="Load engines in the bundle that have no sidecar.")
@click.option(
    "--threads", type=click.IntRange(0, 256), default=0, help="CPU threads.  [default: all cores]"
)
@click.option(
    "--cache-gb",
    type=click.FloatRange(0),
    default=4.0,
    show_default=True,
    help="Memory for features of pictures that are needed again.",
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
    output: Path | None,
    restart: bool,
    flow: Path | None,
    cache_gb: float,
    as_json: bool,
    **how: Any,
) -> None:
    """Score a MODEL on a benchmark: a checkpoint (.safetensors) or a bundle. Several: a row each.

    \b
    dcc eval bundle --benchmark pairs --data test_pairs.csv -o results
    dcc eval model.safetensors bundle --benchmark pf-pascal --data pf-pascal
    dcc eval bundle --benchmark tss --data tss --flow flows

    Every number is printed and stored with its protocol (docs/evaluation.md). With -o a run that was
    stopped, however it was, continues when it is called again. A bundle runs in whatever --backend says,
    a checkpoint in PyTorch.
    """
    from dccnet.evaluation.benchmarks import load_benchmark
    from dccnet.evaluation.models import open_subject
    from dccnet.evaluation.results import to_dict
    from dccnet.runtime.console import note, print_wide
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.selection import Choice

    if flow is not None and benchmark != "tss":
        raise UsageError("--flow goes with --benchmark tss")
    if flow is not None and len(models) > 1:
        raise UsageError("--flow takes one MODEL: its files would overwrite each other")
    alphas = None if alpha is None else parse_alphas(alpha)
    folders = output_folders(models, output)
    loaded = load_benchmark(benchmark, data, root, protocol=protocol, one_based=one_based, split=split)
    note(f"protocol: {loaded.protocol}")
    summaries = []
    for model, folder in zip(models, folders, strict=True):
        subject = open_subject(model, Choice(**how), note)
        note(f"{model}: running on {subject.backend}")
        options: dict[str, Any] = {"folder": folder, "restart": restart, "flow_folder": flow}
        options["budget"] = int(cache_gb * 2**30)
        summaries.append(_evaluate(subject, loaded, alphas or loaded.alphas, options))
    if as_json:
        results = [to_dict(summary) for summary in summaries]
        click.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2, allow_nan=False))
        return
    from dccnet.evaluation.tables import WIDTH, tables

    print_wide(tables(summaries), WIDTH)


def _evaluate(
    subject: Subject, benchmark: Benchmark, alphas: tuple[float, ...], options: dict[str, Any]
) -> Summary:
    from dccnet.evaluation.results import write_results
    from dccnet.evaluation.runner import evaluate
    from dccnet.evaluation.summary import summarise
    from dccnet.runtime.console import note, progress_bar, warn

    started = time.perf_counter()
    try:
        with progress_bar() as progress:
            task = progress.add_task(str(subject.path), total=len(benchmark.cases))
            run = evaluate(
                subject,
                benchmark,
                alphas,
                on_pair=lambda done: progress.update(task, completed=done),
                **options,
            )
    except KeyboardInterrupt:
        if options["folder"] is not None:
            note("stopped: the same command goes on from here")
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
        model=str(subject.path),
        model_sha256=subject.digest,
        backend=subject.backend,
    )
    if summary.outside:
        warn(f"{summary.outside} keypoints lie outside of their pictures; they count as they are")
    if options["folder"] is not None:
        paths = write_results(options["folder"], benchmark, run.outcomes, summary)
        note(f"wrote {', '.join(map(str, paths))}")
    return summary


def parse_alphas(text: str) -> tuple[float, ...]:
    """``"0.05,0.1"`` -> increasing thresholds. Raises :class:`UsageError`."""
    from dccnet.runtime.errors import UsageError

    try:
        alphas = sorted({float(part) for part in text.split(",")})
        if not all(0 < alpha < float("inf") for alpha in alphas):
            raise ValueError
        return tuple(alphas)
    except ValueError:
        raise UsageError(f"--alpha takes positive numbers, such as 0.05,0.1, not '{text}'") from None


def output_folders(models: tuple[Path, ...], output: Path | None) -> list[Path | None]:
    """A folder for each model: ``output`` itself for one, folders in it for several."""
    from dccnet.runtime.errors import UsageError

    if output is None:
        return [None] * len(models)
    if len(models) == 1:
        return [output]
    names = [f"{model.absolute().parent.name}-{model.stem}" for model in models]
    if len(set(names)) < len(names):
        raise UsageError(f"two models would write to one folder in {output}: evaluate them one at a time")
    return [output / name for name in names]
