"""``dcc serve`` against ``Matcher`` on the same pairs: rate, latency, memory, equal answers; and overload.

    python benchmarks/service.py                 4 clients x 200 requests; then 10 times what it can do
    python benchmarks/service.py --requests 50 --overload-s 0

The built-in model, pictures of scikit-image that dcc brings. Server and ``Matcher`` are processes of their
own, and take turns in blocks, so that other load on the machine affects both; clients are threads of this
process, on the same cores. ``Matcher`` reads the same files one after the other, matches them and lists the
mutual matches, as the service does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path

import numpy as np
import requests

from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.writers import match_lists

PAIRS = list(permutations(sorted(PICTURES.glob("*.jpg")), 2))
CLIENTS = 4


_ALONE = """
import resource, sys, time
sys.path.insert(0, "benchmarks")
from service import PAIRS, Matcher, match_lists
matcher = Matcher.open()
def match(i):
    return match_lists(matcher.match(*PAIRS[i % len(PAIRS)]).mutual())
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
match(0), match(1)
print("ready", flush=True)
for line in sys.stdin:
    started, before = time.perf_counter(), cpu()
    for i in range(int(line)):
        match(i)
    print(time.perf_counter() - started, cpu() - before, flush=True)
"""


class Alone:
    """``Matcher`` in a process of its own, from files to lists of mutual matches."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _ALONE]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready"

    def match(self, pairs: int) -> tuple[float, float]:
        """Seconds, and seconds of processor time, for so many pairs."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{pairs}\n")
        self.process.stdin.flush()
        seconds, cpu = self._line().split()
        return float(seconds), float(cpu)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.process.communicate()


class Server:
    """``dcc serve`` in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "dccnet", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"listening on (http://\S+)", line):
                self.url = found[1]
                break

    @property
    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    @property
    def cpu_s(self) -> float:
        """Processor time of all its threads."""
        fields = (
            Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=60)


CONTENT = {path: path.read_bytes() for pair in PAIRS for path in pair}


class Client:
    """One connection."""

    def __init__(self, url: str) -> None:
        self.session, self.url = requests.Session(), f"{url}/v1/match"

    def ask(self, number: int) -> tuple[int, float, dict[str, object]]:
        """Status, seconds and content of an answer."""
        a, b = PAIRS[number % len(PAIRS)]
        files = {"a": ("a.jpg", CONTENT[a]), "b": ("b.jpg", CONTENT[b])}
        started = time.perf_counter()
        response = self.session.post(self.url, files=files, timeout=120)
        return response.status_code, time.perf_counter() - started, response.json()


def percentile(seconds: list[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) if seconds else float("nan")


def equal_answers(answers: dict[int, dict[str, object]]) -> float:
    """The largest difference of a number from that of ``Matcher``; infinite for other matches."""
    largest = 0.0
    with Matcher.open() as matcher:
        for number, found in answers.items():
            wanted = match_lists(matcher.match(*PAIRS[number % len(PAIRS)]).mutual())
            for name, values in wanted.items():
                given = found["mutual"][name]  # type: ignore[index]
                if np.shape(given) != np.shape(values):
                    return float("inf")
                largest = max(largest, float(np.abs(np.subtract(given, values)).max()))
    return largest


def steady(requests_each: int, blocks: int) -> None:
    """4 clients, each of which waits for its answer before it asks again."""
    alone, server = Alone(), Server()
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    answers: dict[int, dict[str, object]] = {}
    memory: list[float] = []
    clients = [Client(server.url) for _ in range(CLIENTS)]

    def ask(client_number: int, numbers: range) -> None:
        for number in numbers:
            status, seconds, content = clients[client_number].ask(number)
            statuses[status] += 1
            latencies.append(seconds)
            answers[number % len(PAIRS)] = content

    each = requests_each // blocks
    alone_s = alone_cpu = service_s = service_cpu = 0.0
    ratios = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS), [range(2)] * CLIENTS))
        statuses.clear()
        latencies.clear()
        for block in range(blocks):
            took, cpu = alone.match(CLIENTS * each)
            alone_s, alone_cpu = alone_s + took, alone_cpu + cpu
            started, before = time.perf_counter(), server.cpu_s
            first = block * each
            list(pool.map(ask, range(CLIENTS), [range(first, first + each)] * CLIENTS))
            served = time.perf_counter() - started
            service_s, service_cpu = service_s + served, service_cpu + server.cpu_s - before
            ratios.append(took / served)
            memory.append(server.memory_mb)
    code = server.stop()
    alone.stop()
    total = CLIENTS * each * blocks
    half = len(memory) // 2
    report = {
        "requests": total,
        "statuses": dict(statuses),
        "matcher_pairs_per_s": round(total / alone_s, 2),
        "service_pairs_per_s": round(total / service_s, 2),
        "rate_by_matcher": round(alone_s / service_s, 3),
        "rate_by_matcher_of_blocks": [round(ratio, 2) for ratio in sorted(ratios)],
        "cpu_s_per_pair_matcher": round(alone_cpu / total, 4),
        "cpu_s_per_pair_service": round(service_cpu / total, 4),
        "p50_s": round(percentile(latencies, 50), 3),
        "p95_s": round(percentile(latencies, 95), 3),
        "p95_by_p50": round(percentile(latencies, 95) / percentile(latencies, 50), 2),
        "memory_mb_of_blocks": [round(value, 1) for value in memory],
        "memory_growth_second_half": round(memory[-1] / memory[half] - 1, 4),
        "largest_difference_from_matcher": equal_answers(answers),
        "exit_code": code,
    }
    print(json.dumps({"steady": report}), flush=True)


def overload(seconds: float, factor: float, timeout_s: float) -> None:
    """Requests at ``factor`` times the rate that the service can do, whether they are answered or not."""
    server = Server("--timeout", str(timeout_s))
    client = Client(server.url)
    for number in range(4):
        client.ask(number)
    started = time.perf_counter()
    for number in range(8):
        client.ask(number)
    possible = 8 / (time.perf_counter() - started)
    before, local = server.memory_mb, threading.local()
    latencies: list[float] = []
    statuses: Counter[str] = Counter()

    def ask(number: int) -> None:
        if not hasattr(local, "client"):
            local.client = Client(server.url)
        try:
            status, took, content = local.client.ask(number)
        except requests.RequestException as error:
            statuses[type(error).__name__] += 1
            return
        statuses[str(status)] += 1
        if status == 200:
            latencies.append(took)
        elif status == 503:
            assert "detail" in content

    asked, started = 0, time.perf_counter()
    with ThreadPoolExecutor(128) as clients:
        while (now := time.perf_counter() - started) < seconds:
            while asked < now * possible * factor:
                clients.submit(ask, asked)
                asked += 1
            time.sleep(0.005)
    took = time.perf_counter() - started
    healthy = requests.get(f"{server.url}/healthz", timeout=60).status_code
    after = client.ask(0)[0]
    memory = server.memory_mb
    report = {
        "asked": asked,
        "asked_per_s": round(asked / seconds, 1),
        "one_client_per_s": round(possible, 2),
        "answered_per_s": round(statuses["200"] / took, 2),
        "statuses": dict(statuses),
        "p50_s": round(percentile(latencies, 50), 2),
        "p95_s": round(percentile(latencies, 95), 2),
        "deadline_s": timeout_s,
        "memory_mb": [round(before, 1), round(memory, 1)],
        "afterwards": [healthy, after],
        "exit_code": server.stop(),
    }
    print(json.dumps({"overload": report}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=200, help="of each of 4 clients")
    parser.add_argument("--blocks", type=int, default=10, help="in which service and Matcher take turns")
    parser.add_argument("--overload-s", type=float, default=20)
    parser.add_argument("--factor", type=float, default=10)
    parser.add_argument("--timeout", type=float, default=10, help="the service's deadline under overload")
    options = parser.parse_args()
    if options.requests:
        steady(options.requests, options.blocks)
    if options.overload_s:
        overload(options.overload_s, options.factor, options.timeout)


if __name__ == "__main__":
    main()
