"""A run over a list of pairs: what is done, what is left, and the files of its folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dccnet.runtime.bulk.job import MATCHES, PART_NAME, Job, Task
from dccnet.runtime.bulk.matching import PairMatcher, Part
from dccnet.runtime.bulk.results import FORMATS, Failure, require_format, write_failures, write_matched
from dccnet.runtime.bulk.window import window_of
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.journal import JOURNAL, Journal
from dccnet.runtime.reading import parse_json


class Done(NamedTuple):
    """A part that is written."""

    part: int
    pairs: int
    """Those that were matched; the others failed."""
    failed: int
    encoded: int
    seconds: float


class Outcome(NamedTuple):
    """A part that was just written, and its failures."""

    done: Done
    failures: list[Failure]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run has done, earlier runs of the folder included."""

    output: str
    errors: str
    pairs: int
    matched: int
    failed: int
    resumed: int
    """Pairs that were done before."""
    encoded: int
    """Encodings of pictures."""
    seconds: float
    """Of this run."""
    model: str

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def do_task(job: Job, matcher: PairMatcher, task: Task) -> Iterator[Outcome]:
    """Make the parts of a task and write them. Raises :class:`DccError`."""
    rows = job.pairs.read(task.start, task.stop)
    window = window_of(task.start, rows, job.pairs.has_points)
    for part in matcher.parts(window, job.part, task.parts):
        yield _written(job, task.first + part.number, part)


def _written(job: Job, number: int, part: Part) -> Outcome:
    facts = {"list": job.pairs.path.name, **job.identity()}
    write_matched(job.path(number), part.rows, job.model, facts)
    counts = Done(number, len(part.rows), len(part.failures), part.encoded, round(part.seconds, 6))
    return Outcome(counts, part.failures)


def run(
    job: Job,
    work: Callable[[Iterator[Task]], Iterable[Outcome]],
    *,
    restart: bool = False,
    on_start: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Do what is left of a job by ``work``, and write the failures of all of it.

    ``on_start`` is called with the number of pairs that are done and of all pairs. Raises
    :class:`UsageError` where the folder holds another run, and :class:`DccError`.
    """
    require_format(job.form)
    started, total = time.perf_counter(), len(job.shard.rows(job.pairs.rows))
    there = _parts_in(job)
    if there and not restart and not (job.folder / JOURNAL).exists():
        raise UsageError(
            f"{job.folder / MATCHES} holds results of a run that left no {JOURNAL}: choose another folder "
            "with -o, or start again with --restart"
        )
    journal: Journal[Done] = Journal(
        job.folder, job.identity(), _decoded, what="run", restart=restart, on_no_locks=on_note
    )
    with journal:
        if restart:
            for path in (*there, *(job.errors.with_suffix(f".{form}") for form in FORMATS)):
                path.unlink(missing_ok=True)
        names = {path.name for path in _parts_in(job)}
        kept = {part: done for part, done in journal.entries.items() if job.path(part).name in names}
        resumed = sum(done.pairs + done.failed for done in kept.values())
        if resumed:
            on_note(f"continuing: {resumed} of {total} pairs are done")
        on_start(resumed, total)
        for done, failures in work(job.tasks(lambda part: part in kept)):
            journal.add(done.part, done, {**done._asdict(), "failures": failures})
            kept[done.part] = done
        counts = list(kept.values())
        write_failures(job.errors, _failures(job.folder / JOURNAL))
    return Summary(
        output=str(job.folder / MATCHES),
        errors=str(job.errors),
        pairs=total,
        matched=sum(done.pairs for done in counts),
        failed=sum(done.failed for done in counts),
        resumed=resumed,
        encoded=sum(done.encoded for done in counts),
        seconds=round(time.perf_counter() - started, 3),
        model=job.model,
    )


def check_complete(summary: Summary) -> None:
    """Raises :class:`DccError` where pairs failed."""
    if summary.failed:
        many = "1 pair" if summary.failed == 1 else f"{summary.failed} pairs"
        raise DccError(f"{many} of {summary.pairs} failed; {summary.errors} says why; the others are done")


def _parts_in(job: Job) -> list[Path]:
    folder = job.folder / MATCHES
    return [path for path in folder.iterdir() if PART_NAME.fullmatch(path.name)] if folder.is_dir() else []


def _decoded(values: dict[str, Any], where: str) -> tuple[int, Done]:
    done = Done(*(values[name] for name in Done._fields))
    if not all(type(n) is int for n in done[:4]) or not isinstance(values["failures"], list):
        raise ValueError(f"{where} is no part")
    return done.part, done


def _failures(journal: Path) -> Iterator[Failure]:
    """Those of all parts, a line of the journal at a time."""
    last = {part: number for number, part, _ in _journal_lines(journal)}  # a part may be made twice
    for number, part, failures in _journal_lines(journal):
        if last[part] == number:
            yield from (Failure(*failure) for failure in failures)


def _journal_lines(path: Path) -> Iterator[tuple[int, int, list[Any]]]:
    with path.open("rb") as file:
        next(file)  # the run's identity
        for number, line in enumerate(file):
            values = parse_json(line)
            yield number, values["part"], values["failures"]
