"""Measures all rows in one process, in turns, so that other load on the machine affects all alike."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dccnet.calibration.agreement import AgreementTest, TestPair
from dccnet.calibration.bench.alone import load_alone
from dccnet.calibration.bench.rows import Latency, Row
from dccnet.export.bundles.folder import tool_versions
from dccnet.runtime.backend import TimedBackend
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cores import usable_cores
from dccnet.runtime.errors import DccError
from dccnet.runtime.manifest import ENCODER, MATCHER, Agreement
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import open_bundle
from dccnet.runtime.selection import BackendChoice
from dccnet.runtime.tuning.choice import processor


@dataclass(slots=True)
class _Contender:
    """An opened bundle, with the seconds of each of its turns."""

    row: Row
    matcher: Matcher
    encode_s: list[float] = field(default_factory=list)
    match_s: list[float] = field(default_factory=list)
    pair_s: list[float] = field(default_factory=list)
    kept_s: list[float] = field(default_factory=list)

    def turn(self, pair: TestPair) -> None:
        """Match one pair, and store the time of each step."""
        started = time.perf_counter()
        a = self.matcher.encode(pair.a)
        first = time.perf_counter()
        b = self.matcher.encode(pair.b)
        second = time.perf_counter()
        self.matcher.match(a, b)
        done = time.perf_counter()
        self.encode_s += [first - started, second - first]
        self.match_s.append(done - second)
        self.pair_s.append(done - started)
        self.kept_s.append(done - first)

    def finished(self) -> Row:
        backend = self.matcher.backend
        on_gpu = backend.gpu_milliseconds() if isinstance(backend, TimedBackend) else {}
        return dataclasses.replace(
            self.row,
            encoder_gpu_ms=on_gpu.get(ENCODER),
            matcher_gpu_ms=on_gpu.get(MATCHER),
            encoder=Latency.of(self.encode_s),
            matcher=Latency.of(self.match_s),
            pairs_per_s=1 / float(np.median(self.pair_s)),
            frames_per_s=1 / float(np.median(self.kept_s)),
        )


def bench(
    bundles: Sequence[Path],
    choices: Sequence[BackendChoice],
    pairs: Sequence[TestPair],
    pictures: tuple[str, str],
    rounds: int,
    on_step: Callable[[str], None] = lambda text: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """A row for each bundle and backend, in this order.

    Each row is opened, run once to warm up, and matches all ``pairs``. Then the rows take turns, ``rounds``
    times, each with the next pair. ``pictures`` are files of two pictures, which the processes match that
    memory is measured in. ``on_step`` is called with a description of each step, ``on_note`` for a row
    whose matches cannot be compared with the first row's. Rows that cannot run say why. Raises
    :class:`DccError` where a path is not a bundle.
    """
    rows: list[Row | _Contender] = []
    test: AgreementTest | None = None
    for path in bundles:
        bundle = open_bundle(path)
        for choice in choices:
            on_step(f"{path.name} in {choice.backend}")
            row = _row(str(path), bundle, choice)
            try:
                matcher = Matcher.open(bundle, **choice._asdict())
                load_s, peak_mb = load_alone(str(bundle.path), choice, pictures)
                matcher.match(pairs[0].a, pairs[0].b)  # warms up
                test = test or AgreementTest.prepare(matcher, pairs)
                agreement = _agreement(test, matcher, path, on_note)
                row = dataclasses.replace(
                    row,
                    backend=matcher.backend.description,
                    load_s=load_s,
                    peak_mb=peak_mb,
                    agreement=agreement,
                )
                rows.append(_Contender(row, matcher))
            except DccError as error:
                rows.append(dataclasses.replace(row, problem=str(error)))
    contenders = [row for row in rows if isinstance(row, _Contender)]
    for turn in range(rounds):
        on_step(f"turn {turn + 1} of {rounds}")
        for contender in contenders:
            contender.turn(pairs[turn % len(pairs)])
    return [row.finished() if isinstance(row, _Contender) else row for row in rows]


def _agreement(
    test: AgreementTest, matcher: Matcher, path: Path, on_note: Callable[[str], None]
) -> Agreement | None:
    try:
        return test.measure(matcher)
    except DccError as error:
        on_note(f"{path}: {error}")
        return None


def environment(choices: Sequence[BackendChoice]) -> dict[str, object]:
    """The machine and the versions that the numbers were measured with."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "threads": choices[0].threads or "one for each core",
        "system": platform.platform(terse=True),
        "tools": tool_versions(),
    }


def _row(named: str, bundle: Bundle, choice: BackendChoice) -> Row:
    manifest = bundle.manifest
    files = [graph.file for graph in manifest.graphs.values()]
    if choice.backend == "tensorrt" and manifest.engines:
        files = [record.file for record in manifest.engines]
    size = sum((bundle.path / file).stat().st_size for file in files if (bundle.path / file).is_file())
    lowering = manifest.conv4d.lowering
    return Row(named, manifest.precision, manifest.frames.dtype, lowering, choice.backend, size / 1e6)
