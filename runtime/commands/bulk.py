"""``dcc match --pairs``: every pair of a list. Data goes to stdout, messages to stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dccnet.runtime.bulk.job import WHOLE, WINDOW, Job, Shard
from dccnet.runtime.bulk.match_pairs import CACHE_GB, job_of, run_here
from dccnet.runtime.bulk.on_ray import WINDOW as WINDOW_ON_RAY
from dccnet.runtime.bulk.on_ray import Workers, run_on_ray
from dccnet.runtime.bulk.results import PARQUET, require_format
from dccnet.runtime.bulk.run import Summary, check_complete
from dccnet.runtime.commands.bulk_options import BulkOptions
from dccnet.runtime.commands.pictures import print_json
from dccnet.runtime.console import console, note, progress_bar
from dccnet.runtime.errors import UsageError
from dccnet.runtime.manifest import Manifest
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.views.ways import Ways

_EVERY_S = 60.0
"""Seconds between two lines where no terminal shows the bar."""


def match_list(
    manifest: Manifest,
    open_matcher: Callable[[], Matcher],
    options: BulkOptions,
    outputs: Sequence[Path],
    batch: int | None,
    least: float | None,
    refine: bool | None,
    ways: Ways,
    workers: Workers,
    as_json: bool,
) -> None:
    """Match the list and print a summary; ``workers`` are those of Ray.

    Raises :class:`DccError` at the end where pairs failed.
    """
    assert options.pairs is not None
    form = options.format or PARQUET
    require_format(form)
    job = job_of(
        manifest,
        options.pairs,
        output_folder(outputs),
        refine=manifest.fine is not None if refine is None else refine,
        ways=ways,
        root=options.root,
        form=form,
        shard=WHOLE if options.shard is None else Shard.parse(options.shard),
        batch=batch or 1,
        cache_gb=CACHE_GB if options.cache_gb is None else options.cache_gb,
        min_confidence=least,
        window=WINDOW if options.ray is None else WINDOW_ON_RAY,
    )
    if options.ray is None:
        summary = _matched_here(job, open_matcher, options.restart)
    else:
        summary = _matched_on_ray(job, options.ray, workers, options.restart)
    _tell(summary, as_json)


def output_folder(outputs: Sequence[Path]) -> Path:
    """Raises :class:`UsageError` unless one folder is named."""
    if len(outputs) != 1 or outputs[0].suffix or outputs[0].is_file():
        raise UsageError("--pairs needs one -o that names a folder for the results")
    return outputs[0]


def _matched_here(job: Job, open_matcher: Callable[[], Matcher], restart: bool) -> Summary:
    with open_matcher() as matcher, told_progress() as progress:
        return run_here(
            job, matcher, restart=restart, on_start=progress.start, on_pairs=progress.add, on_note=note
        )


def _matched_on_ray(job: Job, address: str, workers: Workers, restart: bool) -> Summary:
    with told_progress() as progress:
        return run_on_ray(
            job,
            address,
            workers,
            restart=restart,
            on_start=progress.start,
            on_pairs=progress.add,
            on_note=note,
        )


def _tell(summary: Summary, as_json: bool) -> None:
    if as_json:
        print_json(summary.as_json())
    new = summary.matched + summary.failed - summary.resumed
    seconds = f"{summary.seconds:.1f} s, {new / max(summary.seconds, 1e-9):.1f} pairs/s"
    note(f"{summary.matched} of {summary.pairs} pairs matched, {new} now ({seconds})")
    note(f"wrote {summary.output}")
    check_complete(summary)


class Progress:
    """A bar with pairs per second and the time left; lines, where stderr is no terminal."""

    def __init__(self) -> None:
        self.bar = progress_bar("{task.fields[rate]}")
        self._task = self.bar.add_task("matching", total=None, rate="")
        self._first = self._done = self._total = 0
        self._began = self._told = time.perf_counter()

    def start(self, done: int, total: int) -> None:
        """``done`` of ``total`` pairs are there already."""
        self._first, self._done, self._total = done, done, total
        self._began = self._told = time.perf_counter()
        self.bar.update(self._task, total=total, completed=done)

    def add(self, count: int) -> None:
        """So many pairs more are done."""
        self._done += count
        now = time.perf_counter()
        rate = (self._done - self._first) / max(now - self._began, 1e-9)
        self.bar.update(self._task, advance=count, rate=f"{rate:.1f} pairs/s")
        if not console.is_terminal and now - self._told >= _EVERY_S:
            self._told = now
            left = (self._total - self._done) / max(rate, 1e-9)
            note(f"{self._done} of {self._total} pairs, {rate:.1f} pairs/s, {left / 60:.0f} min left")


@contextmanager
def told_progress() -> Iterator[Progress]:
    """Tell how far a run is, in this block."""
    progress = Progress()
    with progress.bar:
        yield progress
