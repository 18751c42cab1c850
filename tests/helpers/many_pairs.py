"""Lists of many pairs of small grey pictures, and a backend that counts, fails or stops."""

from __future__ import annotations

import gc
import itertools
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors
from dccnet.runtime.bulk.job import Job
from dccnet.runtime.bulk.match_pairs import run_here
from dccnet.runtime.bulk.pair_list import open_list
from dccnet.runtime.bulk.results import JSONL
from dccnet.runtime.bulk.run import Summary
from dccnet.runtime.images import write_image
from tests.helpers.streams import IdentityBackend, grey, matcher_of

LEVELS = 12
"""Pictures in a list: ``0.png`` to ``11.png``, of different grey levels and sizes."""


class StoppedError(BaseException):
    """What a signal raises, or a kill prevents."""


class CountingBackend(IdentityBackend):
    """Counts features that are alive; raises :class:`StoppedError` after ``stop_after`` pairs."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.alive = self.most_alive = self.matched = 0
        self._stop_after = stop_after

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        tensors = dict(super().encode(frame, stream))
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(tensors["local"], self._freed)
        return tensors

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        if self.matched == self._stop_after:
            raise StoppedError
        self.matched += 1
        return super().match(a, b, stream)

    def _freed(self) -> None:
        self.alive -= 1


def write_list(folder: Path, rows: Sequence[Sequence[str]] = (), header: str = "source,target") -> Path:
    """Pictures, and a list of all pairs of them in a random order, with ``rows`` in its middle."""
    for level in range(LEVELS):
        write_image(folder / f"{level}.png", grey(20 * level, (30 + level, 40)))
    pairs: list[Sequence[str]] = [
        (f"{a}.png", f"{b}.png") for a, b in itertools.permutations(range(LEVELS), 2)
    ]
    pairs = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]
    pairs[50:50] = rows
    path = folder / "pairs.csv"
    path.write_text("".join(",".join(row) + "\n" for row in [header.split(","), *pairs]))
    return path


def job(pairs: Path, output: Path, **changes: Any) -> Job:
    settings: dict[str, Any] = {
        "root": pairs.parent, "model": "a model", "refine": False, "room": 5, "form": JSONL, "part": 10,
        "window": 70, "batch": 3,
    }  # fmt: skip
    return Job(open_list(pairs), output, **settings | changes)


def run_job(given: Job, backend: IdentityBackend | None = None, **options: Any) -> Summary:
    matcher = matcher_of(CountingBackend() if backend is None else backend)
    summary = run_here(given, matcher, **options)
    gc.collect()
    return summary


def rows_of(folder: Path) -> dict[int, dict[str, Any]]:
    """Rows of all JSON lines below the folder by their pair, without their times; each is there once."""
    lines = [line for path in folder.rglob("part-*.jsonl") for line in path.read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    found = {row["pair"]: row for row in rows}
    assert len(found) == len(rows)
    return {pair: {name: row[name] for name in row if name != "seconds"} for pair, row in found.items()}


def failures_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "errors.jsonl").read_text()
    return sorted((json.loads(line) for line in text.splitlines()), key=lambda row: int(row["pair"]))
