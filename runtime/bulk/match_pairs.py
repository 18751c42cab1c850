"""Match a list of pairs on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dccnet.runtime.bulk.job import PART, WHOLE, WINDOW, Job, Shard, Task, pictures_in
from dccnet.runtime.bulk.matching import PairMatcher
from dccnet.runtime.bulk.pair_list import open_list
from dccnet.runtime.bulk.results import PARQUET
from dccnet.runtime.bulk.run import Outcome, Summary, do_task, run
from dccnet.runtime.errors import UsageError
from dccnet.runtime.manifest import Manifest, encode_manifest
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.views.ways import AS_THEY_ARE, Ways

CACHE_GB = 1.0


def job_of(
    manifest: Manifest,
    pairs: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    refine: bool,
    ways: Ways = AS_THEY_ARE,
    root: str | os.PathLike[str] | None = None,
    form: str = PARQUET,
    shard: Shard = WHOLE,
    batch: int = 1,
    cache_gb: float = CACHE_GB,
    min_confidence: float | None = None,
    window: int = WINDOW,
    part: int = PART,
) -> Job:
    """A job with a bundle of this manifest; arguments and errors are those of :func:`match_pairs`."""
    if root is not None and not Path(root).is_dir():
        raise UsageError(f"{root}, where the list's pictures are to be, is no folder: name another one")
    room = pictures_in(manifest, cache_gb, batch, len(ways.source))
    opened = open_list(pairs)
    return Job(
        opened,
        Path(output),
        opened.path.parent if root is None else Path(root),
        encode_manifest(manifest)["digest"],
        refine,
        room,
        form,
        shard,
        batch,
        min_confidence,
        window,
        part,
        ways,
    )


def match_pairs(
    matcher: Matcher,
    pairs: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    restart: bool = False,
    on_start: Callable[[int, int], None] = lambda done, total: None,
    on_pairs: Callable[[int], None] = lambda count: None,
    on_note: Callable[[str], None] = lambda text: None,
    **settings: Any,
) -> Summary:
    """Match every pair of the list ``pairs``, a ``.csv`` or ``.parquet`` file, into the folder ``output``.

    docs/scale.md describes the list, docs/formats.md the results. A run that was stopped continues where it
    was, unless ``restart``; a pair that fails is in the file of errors, and counted in what is returned.

    ``settings`` are: ``root``, the pictures' folder, by default the list's; ``form``, ``parquet`` or
    ``jsonl``; ``shard``, a :class:`Shard` of the list; ``batch``, pairs in one run of the network;
    ``cache_gb``, GiB of features that are kept; ``min_confidence``, that of the mutual matches; ``window``,
    pairs that are ordered together; ``part``, pairs of one file. ``on_start`` is called with the number of
    pairs that are done and of all, ``on_pairs`` with how many were done since.

    Raises :class:`UsageError`, also where the folder holds another run, :class:`DataError` for a list that
    cannot be read, and :class:`DccError`.
    """
    job = job_of(matcher.manifest, pairs, output, refine=matcher.refines, ways=matcher.ways, **settings)
    return run_here(job, matcher, restart=restart, on_start=on_start, on_pairs=on_pairs, on_note=on_note)


def run_here(
    job: Job,
    matcher: Matcher,
    *,
    restart: bool = False,
    on_start: Callable[[int, int], None] = lambda done, total: None,
    on_pairs: Callable[[int], None] = lambda count: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Do a job in this process. Raises as :func:`match_pairs`."""
    if job.min_confidence is not None:
        matcher.require_confidence()
    with PairMatcher(matcher, job.root, job.room, job.batch, job.min_confidence, on_pairs) as pair_matcher:

        def work(tasks: Iterator[Task]) -> Iterable[Outcome]:
            return (outcome for task in tasks for outcome in do_task(job, pair_matcher, task))

        return run(job, work, restart=restart, on_start=on_start, on_note=on_note)
