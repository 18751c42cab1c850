"""The service under a local Ray Serve, with real replicas. Run by ``make test-ray-serve``."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

if "DCC_TEST_RAY_SERVE" not in os.environ:
    pytest.skip("run by make test-ray-serve, whose environment has Ray Serve", allow_module_level=True)

import ray
import requests
from ray import serve
from ray.serve.context import _get_global_client

from dccnet.integrations.ray_serve import Arguments, app
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.writers import match_lists
from tests.helpers.service import check_problem, post


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Two replicas, each of which counts as a processor."""
    port = free_port()
    for name in ("READY", "HEALTH"):  # which are 5 and 10 seconds: too short on a busy machine
        os.environ.setdefault(f"RAY_SERVE_PROXY_{name}_CHECK_TIMEOUT_S", "120")
    os.environ.setdefault("RAY_worker_niceness", "0")  # which is 15: on a busy machine, nothing would start
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    for _ in range(4):
        with contextlib.suppress(TimeoutError):  # after a minute: a busy machine needs longer
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            break
    serve.run(app(Arguments(min_replicas=2, max_replicas=2)), name="dcc")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


def replicas() -> set[int]:
    """The processes of the running replicas."""
    details = _get_global_client().get_serve_details()
    there = details["applications"]["dcc"]["deployments"]["dcc"]["replicas"]
    return {replica["pid"] for replica in there if replica["state"] == "RUNNING"}


def test_answers_and_errors_are_those_of_the_service(url: str, pictures: list[Path]) -> None:
    a, b = pictures[:2]
    with Matcher.open(threads=1) as matcher:
        wanted = match_lists(matcher.match(a, b).mutual())
    found = post(f"{url}/v1/match", a=a, b=b).json()["mutual"]
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=5e-3)
    check_problem(post(f"{url}/v1/match", a=a), 422, "send picture B")
    check_problem(post(f"{url}/v1/references", a=a), 404, "nothing at this address")
    assert requests.get(f"{url}/readyz", timeout=60).json() == {"status": "ready"}


def test_a_replica_that_is_killed_under_load_loses_nothing_that_is_asked_again(
    url: str, pictures: list[Path]
) -> None:
    before = replicas()
    assert len(before) == 2
    statuses: Counter[int] = Counter()
    done = threading.Semaphore(0)

    def ask(_: int) -> int:
        """The number of matches; what fails is asked again, as Retry-After or a broken answer suggests."""
        for _ in range(60):
            response = post(f"{url}/v1/match", a=pictures[0], b=pictures[1])
            statuses[response.status_code] += 1
            if response.status_code == 200:
                done.release()
                return len(response.json()["mutual"]["scores"])
            assert response.status_code in (500, 503), response.text
            time.sleep(0.5)
        raise AssertionError(statuses)

    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(ask, number) for number in range(40)]
        for _ in range(8):
            done.acquire()
        os.kill(min(before), signal.SIGKILL)
        counts = {answer.result() for answer in answers}
    assert len(counts) == 1 and statuses[200] == 40
    until = time.monotonic() + 120
    while len(after := replicas()) < 2 or after == before:
        assert time.monotonic() < until, after
        time.sleep(0.5)
