"""Lists of many pairs on a real Ray, on this machine: two nodes of one core, of which one is killed."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dccnet.runtime.bulk.match_pairs import match_pairs
from dccnet.runtime.matcher import Matcher
from tests.helpers.commands import Cli
from tests.helpers.many_pairs import failures_of, rows_of

pytestmark = pytest.mark.ray
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listen on this machine alone
os.environ["RAY_worker_niceness"] = "0"  # as other tests  # noqa: SIM112

SIZES = {"window": 4, "part": 2, "form": "jsonl"}


@pytest.fixture(scope="module")
def pairs(pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = [f"{a},{b}\n" for a, b in itertools.permutations(pictures, 2)] * 4
    rows.insert(9, f"absent.jpg,{pictures[0]}\n")
    path.write_text("source,target\n" + "".join(rows))
    return path


@pytest.fixture(scope="module")
def alone(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the list."""
    folder = tmp_path_factory.mktemp("alone") / "out"
    with Matcher.open(threads=1, backend="onnxruntime", device="cpu") as matcher:
        match_pairs(matcher, pairs, folder, **SIZES)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    yield cluster
    cluster.shutdown()


def assert_same_rows(found: Path, expected: Path) -> None:
    ours, theirs = rows_of(found), rows_of(expected)
    assert ours.keys() == theirs.keys() and failures_of(found) == failures_of(expected)
    for pair, row in theirs.items():
        for name, value in row.items():
            if name in ("points_b", "scores", "confidence"):
                np.testing.assert_allclose(ours[pair][name], value, atol=2e-3)
            else:
                assert ours[pair][name] == value


def test_two_nodes_make_the_same_rows_and_a_finished_run_is_not_done_again(
    cluster: Any, pairs: Path, alone: Path, tmp_path: Path
) -> None:
    from dccnet.integrations import ray

    notes: list[str] = []
    for resumed in (0, 25):
        summary = ray.match_pairs(pairs, tmp_path, address=cluster.address, on_note=notes.append, **SIZES)
        assert (summary.matched, summary.failed, summary.resumed) == (24, 1, resumed)
    assert "workers on Ray: 2" in notes
    assert_same_rows(tmp_path, alone)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' /proc")
def test_nothing_listens_for_other_machines(cluster: Any) -> None:
    listening = listening_addresses(
        process.process.pid
        for node in cluster.list_all_nodes()
        for processes in node.all_processes.values()
        for process in processes
    )
    assert listening
    assert all(address.endswith(LOOPBACK) for address in listening), listening


LOOPBACK = ("0100007F", "00000000000000000000000001000000")
"""As the kernel writes 127.0.0.1, also within IPv6, and ::1."""


def listening_addresses(pids: Iterable[int]) -> set[str]:
    """Of processes, as the kernel writes them."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()]
    sockets = {str(file.readlink()) for file in files}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
                found.add(cells[1].partition(":")[0])
    return found


def test_what_a_killed_node_had_is_made_elsewhere(
    cluster: Any, pairs: Path, alone: Path, tmp_path: Path
) -> None:
    from dccnet.integrations import ray

    (node,) = cluster.worker_nodes
    done = 0

    def kill_in_the_middle(count: int) -> None:
        nonlocal done
        done += count
        if done >= 8 and node in cluster.worker_nodes:
            cluster.remove_node(node, allow_graceful=False)

    ray.match_pairs(pairs, tmp_path, address=cluster.address, on_pairs=kill_in_the_middle, **SIZES)
    assert not cluster.worker_nodes
    assert_same_rows(tmp_path, alone)


def test_the_command_says_what_is_wrong(dcc: Cli, pairs: Path, tmp_path: Path) -> None:
    done = dcc(
        *("match", "--pairs", pairs, "-o", tmp_path / "out", "--format", "jsonl"), "--ray", "127.0.0.1:9"
    )
    assert done.returncode == 1
    assert "dcc: no Ray cluster answers at 127.0.0.1:9" in done.stderr.splitlines()[-1]
