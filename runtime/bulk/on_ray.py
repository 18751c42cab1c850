"""Do a job over a list of pairs on many machines, with Ray (extra ``ray``).

Every machine sees the list, the pictures and the output's folder under the same paths. Through Ray go the
numbers of rows to a worker, and the counts and failures of its parts back; the worker reads the rows and
writes the parts itself. Tasks are given to actors of Ray Core: an actor pool of Ray Data (2.60) went no
further when the machine of an actor was lost and no other one had room for it.
"""

from __future__ import annotations

import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dccnet.runtime.bulk.job import Job, Task
from dccnet.runtime.bulk.matching import PairMatcher
from dccnet.runtime.bulk.run import Outcome, Summary, do_task, run
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.extras import required
from dccnet.runtime.manifest import encode_manifest
from dccnet.runtime.matcher import Matcher

WINDOW = 2048
"""Pairs of one task: small enough that machines end together, and that little is lost with one."""
TRIES = 3
"""How often a task, or the start of a worker, may end the worker's process."""
PATIENCE_S = 60.0
"""After so long without any worker, and again, the user is told."""
LOCAL = "local"
"""The address of a Ray that is started for this run, on this machine."""


@dataclass(frozen=True, slots=True)
class Workers:
    """What each worker opens, and what it takes."""

    model: str
    """Name, address or folder of the bundle, on every machine."""
    options: dict[str, Any]
    """Arguments of :meth:`Matcher.open`."""
    count: int | None = None
    """Number of workers; None: as many as fit."""
    cpus: int = 1
    """Cores of each, also its threads."""
    gpus: float = 0.0
    """GPUs of each: 1, or a part of one that several share."""


def run_on_ray(
    job: Job,
    address: str,
    workers: Workers,
    *,
    restart: bool = False,
    on_start: Callable[[int, int], None] = lambda done, total: None,
    on_pairs: Callable[[int], None] = lambda count: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Do a job on the Ray cluster at ``address``: ``local``, ``auto`` or ``HOST:PORT``.

    What was lost with a machine is made again elsewhere. Raises :class:`DccError` where Ray or a worker
    fails; the run can then be continued. Other arguments and errors are those of
    :func:`~dccnet.runtime.bulk.match_pairs.match_pairs`.
    """
    job = job.absolute()  # on a cluster, workers run in other folders
    with connected(address, workers.cpus) as ray:
        fitting = _fitting(ray, workers)
        count = fitting if workers.count is None else min(workers.count, fitting)
        on_note(f"workers on Ray: {count}")

        def work(tasks: Iterator[Task]) -> Iterable[Outcome]:
            for outcome in tasks_on_ray(ray, job, list(tasks), workers, count, on_note):
                on_pairs(outcome.done.pairs + outcome.done.failed)
                yield outcome

        return run(job, work, restart=restart, on_start=on_start, on_note=on_note)


@contextmanager
def connected(address: str, cpus: int = 1) -> Iterator[Any]:
    """Ray, connected to the cluster at ``address``, in this block. Raises :class:`DccError`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent
    if address == LOCAL:  # Ray then listens on this machine alone, on every system
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's is 15: every other program goes first
    with required("--ray", "ray"):
        import ray
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if address == LOCAL:
        options["include_dashboard"] = False
        options |= {"num_cpus": max(cpus, os.cpu_count() or 1)}
    ours = not ray.is_initialized()  # a program may be connected already
    if ours:
        _check_answers(address)
        try:
            ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise _no_cluster(address, error) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises :class:`DccError` where nothing listens at HOST:PORT, for which Ray would wait minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and host and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> DccError:
    said = " ".join(str(error).split())[:200]
    return DccError(
        f"no Ray cluster answers at {address} ({said}): start one, or use --ray local; if it wants a "
        "token, set RAY_AUTH_MODE=token"
    )


class Worker:
    """Does tasks, in a process that Ray starts."""

    def __init__(self, job: Job, workers: Workers) -> None:
        self._job, self._workers = job, workers
        self._pairs: PairMatcher | None = None

    def ready(self) -> None:
        """Returns when the process runs."""

    def do(self, task: Task) -> list[Outcome] | str:
        """The task's parts, or the sentence that says what went wrong."""
        try:
            return list(do_task(self._job, self._matcher(), task))
        except DccError as error:
            return str(error)

    def _matcher(self) -> PairMatcher:
        if self._pairs is None:
            job = self._job
            matcher = Matcher.open(self._workers.model, **self._workers.options)
            if encode_manifest(matcher.manifest)["digest"] != job.model:
                raise DccError(f"another machine has another {self._workers.model}: copy the bundle there")
            if job.min_confidence is not None:
                matcher.require_confidence()
            self._pairs = PairMatcher(matcher, job.root, job.room, job.batch, job.min_confidence)
        return self._pairs


def tasks_on_ray(
    ray: Any,
    job: Job,
    tasks: Sequence[Task],
    workers: Workers,
    count: int,
    on_note: Callable[[str], None] = lambda text: None,
) -> Iterator[Outcome]:
    """Give tasks to ``count`` workers, one at a time. ``ray`` is the connected module.

    The task of a worker that is lost goes to another one, and a new worker starts as soon as a machine has
    room for it; ``on_note`` is told where none has any. Raises :class:`DccError`.
    """
    remote = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus or None)(Worker)
    left, shared = deque(tasks), ray.put(job)
    busy: dict[Any, tuple[Any, Task | None]] = {}
    lost: Counter[Task | None] = Counter()

    def start_worker() -> None:
        worker = remote.remote(shared, workers)
        busy[worker.ready.remote()] = worker, None

    for _ in range(min(count, len(tasks))):
        start_worker()
    while left or any(task is not None for _, task in busy.values()):
        found, _ = ray.wait(list(busy), num_returns=1, timeout=PATIENCE_S)
        if not found:
            if all(task is None for _, task in busy.values()):
                on_note("no worker has started yet: the cluster has no room now, or has lost its machines")
            continue
        (done,) = found
        worker, task = busy.pop(done)
        try:
            result = ray.get(done)
        except ray.exceptions.RayActorError as error:
            lost[task] += 1
            _check_lost(lost, task, count, error)
            left.extend([] if task is None else [task])
            start_worker()
            continue
        except ray.exceptions.RayError as error:
            raise DccError(f"Ray stopped ({_short(error)}): the same command continues the run") from error
        if isinstance(result, str):
            raise DccError(result)
        yield from result or ()
        if left:
            task = left.popleft()
            busy[worker.do.remote(task)] = worker, task


def _check_lost(lost: Counter[Task | None], task: Task | None, count: int, error: Exception) -> None:
    """Raises :class:`DccError` where one task ends its workers, or no worker starts."""
    if task is None and lost[None] >= TRIES * count:
        raise DccError(
            f"workers end when they start ({_short(error)}): is dcc installed on every machine?"
        ) from error
    if task is not None and lost[task] >= TRIES:
        raise DccError(
            f"the pairs {task.start} to {task.stop - 1} ended their worker {TRIES} times "
            f"({_short(error)}): is there enough memory?"
        ) from error


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]


def _fitting(ray: Any, workers: Workers) -> int:
    """How many workers fit on the cluster. Raises :class:`UsageError` for none."""
    there = ray.cluster_resources()
    fitting = int(there.get("CPU", 0) // workers.cpus)
    if workers.gpus:
        fitting = min(fitting, int(there.get("GPU", 0) / workers.gpus))
    if fitting < 1:
        wanted = f"{workers.cpus} cores" + (f" and {workers.gpus:g} GPUs" if workers.gpus else "")
        raise UsageError(f"no worker with {wanted} fits on the Ray cluster: add a machine, or ask for less")
    return fitting
