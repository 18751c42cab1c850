"""Servers for tests: a stub of a network behind the real service, in a thread; and the real command."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import requests
import uvicorn

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors
from dccnet.runtime.errors import EngineError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import open_bundle
from dccnet.service.app import create_app
from dccnet.service.core import Service
from dccnet.service.server import bind, url_of
from dccnet.service.settings import Settings

BROKEN = 77
"""The stub fails for a picture whose pixels all have this value."""


class StubBackend:
    """Every cell matches the cell at its own place; a run takes ``seconds``, however many pairs it has."""

    description = "stub"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.runs = seconds, list[int]()
        self.free = threading.Event()
        self.free.set()
        """While it is not set, runs wait."""

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        return self.encode_many([frame])[0]

    def encode_many(self, frames: Sequence[Array]) -> list[Tensors]:
        if any((frame == BROKEN).all() for frame in frames):
            raise EngineError("/secret/folder/encoder.onnx failed")
        return [{"local": np.zeros((1, 4, 22, 22), np.float32)} for _ in frames]

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        return self.match_many([(a, b)])[0]

    def match_many(self, pairs: Sequence[tuple[Tensors, Tensors]]) -> list[dict[str, Array]]:
        self.free.wait()
        time.sleep(self.seconds)
        self.runs.append(len(pairs))
        return [self._outputs() for _ in pairs]

    def close(self) -> None:
        pass

    def _outputs(self) -> dict[str, Array]:
        windows = np.zeros((22 * 22, 25), np.float32)
        windows[:, 12] = 1
        outputs: dict[str, Array] = {}
        for side in "ab":
            outputs[f"index_{side}"] = np.arange(22 * 22)
            outputs[f"score_{side}"] = np.full(22 * 22, 0.5, np.float32)
            outputs[f"window_{side}"] = windows.copy()
        return outputs


def stub_service(backend: StubBackend | None = None, **settings: Any) -> Service:
    """A service of the built-in model's manifest with a stub in the network's place."""
    matcher = Matcher(open_bundle().manifest, backend or StubBackend(), refine=False)
    return Service(matcher, "stub", Settings(**settings))


@contextlib.contextmanager
def serving_app(service: Service) -> Iterator[str]:
    """The address of a server in a thread."""
    bound = bind("127.0.0.1", 0)
    config = uvicorn.Config(create_app(service), log_level="critical", lifespan="on", http="h11", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    url = url_of(bound, "127.0.0.1")
    try:
        while not server.started:
            time.sleep(0.005)
        yield url
    finally:
        server.should_exit = True
        thread.join()


class Process:
    """``dcc serve`` in a process of its own, on a free port."""

    def __init__(self, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "dccnet", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment
        )
        self.said = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r"listening on (http://\S+)", line):
                self.url = found[1]
                break
        else:
            raise AssertionError(self.said)

    def end(self, signal_number: int) -> int:
        """Send a signal; returns the exit code and adds the rest to ``said``."""
        self.process.send_signal(signal_number)
        _, rest = self.process.communicate(timeout=60)
        self.said += rest
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def post(url: str, fields: dict[str, str] | None = None, **files: Path | bytes) -> requests.Response:
    """A form with files."""
    content = {
        name: (name, file if isinstance(file, bytes) else file.read_bytes()) for name, file in files.items()
    }
    return requests.post(url, data=fields or {}, files=content, timeout=60)


def check_problem(response: requests.Response, status: int, *parts: str) -> None:
    """Problem details with one sentence that contains ``parts``."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail"} and problem["status"] == status
    assert "\n" not in problem["detail"] and 10 < len(problem["detail"]) < 400
    for part in parts:
        assert part in problem["detail"], problem["detail"]
