"""Measures all rows in one process, in turns, so that what else the machine does meets them all."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dccnet.calibration.bench.alone import load_alone
from dccnet.calibration.bench.rows import Latency, Row
from dccnet.calibration.loss import Exam, Question
from dccnet.export.bundles.folder import tool_versions
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.selection import Choice


@dataclass(slots=True)
class _Contender:
    row: Row
    matcher: Matcher
    encode_s: list[float] = field(default_factory=list)
    match_s: list[float] = field(default_factory=list)
    pair_s: list[float] = field(default_factory=list)
    kept_s: list[float] = field(default_factory=list)

    def turn(self, question: Question) -> None:
        started = time.perf_counter()
        a = self.matcher.encode(question.a)
        first = time.perf_counter()
        b = self.matcher.encode(question.b)
        second = time.perf_counter()
        self.matcher.match(a, b)
        done = time.perf_counter()
        self.encode_s += [first - started, second - first]
        self.match_s.append(done - second)
        self.pair_s.append(done - started)
        self.kept_s.append(done - first)

    def finished(self) -> Row:
        return dataclasses.replace(
            self.row,
            encoder=Latency.of(self.encode_s),
            matcher=Latency.of(self.match_s),
            pairs_per_s=1 / float(np.median(self.pair_s)),
            frames_per_s=1 / float(np.median(self.kept_s)),
        )


def bench(
    bundles: Sequence[Path],
    choices: Sequence[Choice],
    questions: Sequence[Question],
    pictures: tuple[str, str],
    rounds: int,
    on_step: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """A row for each bundle and backend, in this order.

    Each row is opened, run once to warm up, and asked all ``questions``; then the rows take turns,
    ``rounds`` times, each with the next question. ``pictures`` are matched by the processes that memory is
    measured in. What cannot run is a row that says why. Raises :class:`DccError` for what is no bundle.
    """
    rows: list[Row | _Contender] = []
    exam: Exam | None = None
    for path in bundles:
        bundle = Bundle.open(path)
        for choice in choices:
            on_step(f"{path.name} in {choice.backend}")
            row = _row(bundle, choice)
            try:
                matcher = Matcher.open(bundle, **choice._asdict())
                load_s, peak_mb = load_alone(str(path), choice, pictures)
                matcher.match(questions[0].a, questions[0].b)  # warms up
                exam = exam or Exam.of(matcher, questions)
                row = dataclasses.replace(
                    row,
                    backend=matcher.backend.description,
                    load_s=load_s,
                    peak_mb=peak_mb,
                    agreement=exam.mark(matcher),
                )
                rows.append(_Contender(row, matcher))
            except DccError as error:
                rows.append(dataclasses.replace(row, problem=str(error)))
    contenders = [row for row in rows if isinstance(row, _Contender)]
    for turn in range(rounds):
        on_step(f"turn {turn + 1} of {rounds}")
        for contender in contenders:
            contender.turn(questions[turn % len(questions)])
    return [row.finished() if isinstance(row, _Contender) else row for row in rows]


def environment(choices: Sequence[Choice]) -> dict[str, object]:
    """What the numbers belong to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "threads": choices[0].threads or "one for each core",
        "system": platform.platform(terse=True),
        "tools": tool_versions(),
    }


def _row(bundle: Bundle, choice: Choice) -> Row:
    manifest = bundle.manifest
    files = [graph.file for graph in manifest.graphs.values()]
    if choice.backend == "tensorrt" and manifest.engines:
        files = [record.file for record in manifest.engines]
    size = sum((bundle.path / file).stat().st_size for file in files if (bundle.path / file).is_file())
    lowering = manifest.conv4d.lowering
    return Row(str(bundle.path), manifest.precision, lowering, choice.backend, size / 1e6)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
