"""Tasks and lost workers, on a stand-in for Ray; tests/integrations/test_ray.py has a real one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dccnet.runtime.bulk.job import Job
from dccnet.runtime.bulk.match_pairs import run_here
from dccnet.runtime.bulk.matching import PairMatcher
from dccnet.runtime.bulk.on_ray import Worker, Workers, connected, tasks_on_ray
from dccnet.runtime.bulk.run import Summary, run
from dccnet.runtime.errors import DccError
from dccnet.runtime.extras import install
from tests.helpers.many_pairs import CountingBackend, failures_of, job, rows_of, write_list
from tests.helpers.streams import matcher_of


class LostError(Exception):
    """In the place of Ray's."""


class StandIn:
    """Runs what is asked for when it is waited for, newest first; ``loses`` says which runs are lost."""

    exceptions = SimpleNamespace(RayActorError=LostError, RayError=RuntimeError)

    def __init__(self, loses: Callable[[int], bool]) -> None:
        self._loses, self.runs, self.workers = loses, 0, 0
        self.nothing_yet = 0
        """How often nothing is there when it is waited for."""

    def remote(self, **_: Any) -> Callable[[Any], Any]:
        return lambda kind: SimpleNamespace(remote=lambda *arguments: self._worker(kind(*arguments)))

    def put(self, value: Any) -> Any:
        return value

    def wait(self, asked: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        if self.nothing_yet:
            self.nothing_yet -= 1
            return [], asked
        return asked[-num_returns:], asked[:-num_returns]

    def get(self, asked: Callable[[], Any]) -> Any:
        self.runs += 1
        if self._loses(self.runs):
            raise LostError("the machine is gone")
        return asked()

    def _worker(self, worker: Worker) -> Any:
        self.workers += 1
        worker._pairs = PairMatcher(matcher_of(CountingBackend()), worker._job.root, worker._job.room)
        methods = {"ready": worker.ready, "do": worker.do}
        return SimpleNamespace(
            **{
                name: SimpleNamespace(remote=lambda *given, method=method: lambda: method(*given))
                for name, method in methods.items()
            }
        )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_list(tmp_path_factory.mktemp("pairs"), [("absent.png", "1.png")])


def run_on(ray: StandIn, given: Job) -> Summary:
    workers = Workers("none", {})
    return run(given, lambda tasks: tasks_on_ray(ray, given, list(tasks), workers, 3))


@pytest.mark.parametrize(
    "loses", [lambda run: False, lambda run: run % 4 == 0, lambda run: run in (1, 2, 5)]
)
def test_lost_workers_lose_and_double_nothing(
    loses: Callable[[int], bool], pairs: Path, tmp_path: Path
) -> None:
    ray = StandIn(loses)
    given = job(pairs, tmp_path / "ray", window=12, part=5)
    summary = run_on(ray, given)
    run_here(job(pairs, tmp_path / "here", window=12, part=5), matcher_of(CountingBackend()))
    assert summary.failed == 1 and summary.matched + summary.failed == summary.pairs
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "here")
    assert failures_of(tmp_path / "ray") == failures_of(tmp_path / "here")
    lost = sum(loses(number) for number in range(1, ray.runs + 1))
    assert ray.workers == 3 + lost
    assert run_on(StandIn(loses), given).resumed == summary.pairs


def test_workers_that_never_start_and_pairs_that_end_them_are_told(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(DccError, match=r"workers end when they start .* is dcc installed on every machine"):
        run_on(StandIn(lambda run: True), job(pairs, tmp_path / "a"))
    with pytest.raises(DccError, match=r"the pairs 0 to 69 ended their worker 3 times .* enough memory"):
        # The last worker starts, does the first task and is lost, again and again.
        run_on(StandIn(lambda run: run % 2 == 0), job(pairs, tmp_path / "b"))


def test_a_cluster_without_room_is_told_as_long_as_it_has_none(pairs: Path, tmp_path: Path) -> None:
    ray, notes = StandIn(lambda run: False), list[str]()
    ray.nothing_yet = 2
    given = job(pairs, tmp_path)
    tasks = list(given.tasks(lambda part: False))
    assert list(tasks_on_ray(ray, given, tasks, Workers("none", {}), 3, notes.append))
    assert len(notes) == 2 and notes[0].startswith("no worker has started yet: the cluster has no room")


def test_a_job_for_other_folders_names_the_same_files(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pairs.parent)
    relative = job(Path("pairs.csv"), Path("out"), root=Path())
    found = relative.absolute()
    assert found.identity() == relative.identity()
    monkeypatch.chdir(tmp_path)
    assert next(iter(found.pairs.read(0, 1))).source
    assert (found.root, found.path(0).parent) == (pairs.parent, pairs.parent / "out" / "matches")


def test_a_missing_ray_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DccError, match=re.escape(f"--ray needs ray: {install('ray')}")), connected("local"):
        pass
