"""A backend without a network that matches every cell with itself, and cameras for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np

from dccnet.runtime.arrays import Array, Image
from dccnet.runtime.backend import Tensors
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.video.stream import Stream

GRID = (4, 5)


class IdentityBackend:
    """The more similar the mean grey levels of two pictures, the higher their score. Counts its runs."""

    description = "a test"

    def __init__(self) -> None:
        self.encoded: list[int] = []
        """Mean grey level of every encoded frame."""
        self.runs = 0

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        self.runs += 1
        self.encoded.append(round(float(frame.mean())))
        return {"local": np.array([[[[frame.mean()]]]], np.float32)}

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        self.runs += 1
        cells = np.arange(GRID[0] * GRID[1])
        difference = abs(float(a["local"].item()) - float(b["local"].item()))
        scores = np.full(cells.shape, 1 / (1 + difference), np.float32)
        return {"index_a": cells, "score_a": scores, "index_b": cells.copy(), "score_b": scores.copy()}

    def close(self) -> None: ...


class BatchingIdentityBackend(IdentityBackend):
    def encode_many(self, frames: Sequence[Array]) -> list[Tensors]:
        self.runs += 1 - len(frames)
        return [self.encode(frame) for frame in frames]

    def match_many(self, pairs: Sequence[tuple[Tensors, Tensors]]) -> list[dict[str, Array]]:
        self.runs += 1 - len(pairs)
        return [self.match(a, b) for a, b in pairs]


def matcher_of(backend: Any) -> Matcher:
    manifest = SimpleNamespace(
        confidence=None,
        image_size=(32, 40),
        grid=GRID,
        heatmaps=False,
        fine=None,
        frames=FrameFormat((32, 40), "uint8"),
    )
    return Matcher(cast(Any, manifest), backend)


def grey(level: int, size: tuple[int, int] = (48, 60)) -> Image:
    return np.full((*size, 3), level, np.uint8)


def greys(count: int) -> Iterator[Image]:
    """``count`` frames; frame i has the grey level i (modulo 256)."""
    return (grey(i % 256) for i in range(count))


class LockstepCamera(IdentityBackend):
    """A camera and a backend in one: while the backend matches, exactly ``ratio`` frames arrive."""

    def __init__(self, ratio: int, count: int) -> None:
        super().__init__()
        self.ratio, self.count = ratio, count
        self.arrived = 0
        self._due, self._requested = 1, 0
        self._changed = threading.Condition()

    def frames(self) -> Iterator[Image]:
        for number in range(self.count):
            with self._changed:
                self._requested = number + 1  # so the frame before it is already queued
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._due > self.arrived, 30)
                self.arrived += 1
            yield grey(number % 256)
        with self._changed:
            self._requested = self.count + 1
            self._changed.notify_all()

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        with self._changed:
            self._due = min(self._due + self.ratio, self.count)
            self._changed.notify_all()
            assert self._changed.wait_for(
                lambda: self._requested > self._due or self._requested > self.count, 30
            )
        return super().match(a, b)


def stage_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dcc-stage"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class NetworkCamera:
    """Motion JPEG over HTTP: ``frames`` of increasing grey level, ``period_s`` seconds apart."""

    def __init__(self, frames: int, period_s: float) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    for level in range(frames):
                        picture = cv2.imencode(".jpg", grey(level))[1].tobytes()
                        head = (
                            f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                        )
                        self.wfile.write(head.encode() + picture + b"\r\n")
                        time.sleep(period_s)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/stream.mjpg"

    def __enter__(self) -> NetworkCamera:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def stream(count: int = 5, **options: object) -> Stream:
    return matcher_of(IdentityBackend()).stream(greys(count), grey(100), **options)  # type: ignore[arg-type]


def frames_in(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count
