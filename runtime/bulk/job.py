"""What a run over a list of pairs does: the job, its shard of the list, and its tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dccnet.runtime.bulk.pair_list import PairList
from dccnet.runtime.bulk.results import FORMATS, PARQUET, SCHEMA
from dccnet.runtime.errors import ArgumentError, UsageError
from dccnet.runtime.manifest import Manifest
from dccnet.runtime.views.ways import AS_THEY_ARE, Ways

MATCHES = "matches"
"""The folder with the parts."""
WINDOW = 1 << 18
"""Pairs that are ordered together: their names take some 60 MB."""
PART = 1024
"""Pairs of one file: what is lost where a run is killed."""
PART_NAME = re.compile(r"part-\d{7}\.(parquet|jsonl)")
"""Of every file of results."""


class Shard(NamedTuple):
    """One of ``of`` equal pieces of a list, numbered from 1."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From ``3/100``. Raises :class:`UsageError`."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        shard = cls(*map(int, found.groups())) if found else cls(0)
        if not 1 <= shard.number <= shard.of:
            raise UsageError(f"a shard is one of 1/100 to 100/100, such as 3/100, not '{text}'")
        return shard

    def rows(self, total: int) -> range:
        """Its consecutive rows of a list of ``total``."""
        return range(total * (self.number - 1) // self.of, total * self.number // self.of)

    def folder(self, output: Path) -> Path:
        """Where its results are: in a folder of its own, unless it is the whole list."""
        width = len(str(self.of))
        name = f"shard-{self.number:0{width}}-of-{self.of}"
        return output if self.of == 1 else output / name


WHOLE = Shard()


@dataclass(frozen=True, slots=True)
class Job:
    """What to match, and how. Can be pickled, for other processes."""

    pairs: PairList
    output: Path
    root: Path
    """Folder of the pictures."""
    model: str
    """Digest of the bundle's manifest."""
    refine: bool
    room: int
    """Pictures whose features are kept."""
    form: str = PARQUET
    shard: Shard = WHOLE
    batch: int = 1
    min_confidence: float | None = None
    window: int = WINDOW
    part: int = PART
    ways: Ways = AS_THEY_ARE

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise UsageError(f"results are {' or '.join(FORMATS)}, not {self.form}")
        if min(self.batch, self.window, self.part) < 1:
            raise ArgumentError("a batch, a window and a part contain at least one pair")

    @property
    def folder(self) -> Path:
        return self.shard.folder(self.output)

    @property
    def errors(self) -> Path:
        """The file of the pairs that failed."""
        return self.folder / f"errors.{self.form}"

    def absolute(self) -> Job:
        """The same job for processes that run in other folders."""
        return replace(
            self, pairs=self.pairs.absolute(), output=self.output.absolute(), root=self.root.absolute()
        )

    def identity(self) -> dict[str, Any]:
        """The values that must be equal for a run to be continued."""
        return {
            "schema": SCHEMA,
            "list_sha256": self.pairs.sha256,
            "model_sha256": self.model,
            "root": str(self.root.resolve()),
            "shard": f"{self.shard.number}/{self.shard.of}",
            "format": self.form,
            "refine": self.refine,
            "mirror": self.ways.mirror,
            **({} if self.ways.views == 1 else {"views": self.ways.views}),  # absent from runs of before
            "min_confidence": self.min_confidence,
            "pictures_in_cache": self.room,
            "window": self.window,
            "pairs_in_a_file": self.part,
        }

    def path(self, part: int) -> Path:
        return self.folder / MATCHES / f"part-{part:07}.{self.form}"

    def tasks(self, done: Callable[[int], bool]) -> Iterator[Task]:
        """The windows with parts that are not ``done``."""
        rows, most = self.shard.rows(self.pairs.rows), -(-self.window // self.part)
        for number, start in enumerate(range(rows.start, rows.stop, self.window)):
            stop = min(start + self.window, rows.stop)
            first = number * most
            left = tuple(i for i in range(-(-(stop - start) // self.part)) if not done(first + i))
            if left:
                yield Task(start, stop, first, left)


class Task(NamedTuple):
    """The parts of a window that are to be made."""

    start: int
    """Its first row in the list."""
    stop: int
    first: int
    """Number of its first part."""
    parts: tuple[int, ...]
    """Numbers of parts in the window, from 0."""


def pictures_in(manifest: Manifest, cache_gb: float, batch: int, views: int = 1) -> int:
    """How many pictures' features ``cache_gb`` GiB hold, of so many views each. Raises :class:`UsageError`
    where those of one batch do not fit."""
    outputs = manifest.graphs["encoder"].outputs
    each = (
        sum(
            int(np.prod([n for n in spec.shape if isinstance(n, int)])) * np.dtype(spec.dtype).itemsize
            for spec in outputs
        )
        * views
    )
    room = int(cache_gb * 2**30) // each
    if room < 2 * batch:
        least = 2 * batch * each / 2**30
        raise UsageError(
            f"the pictures of one batch do not fit into {cache_gb:g} GiB: give --cache-gb {least:.2g} or "
            "more"
        )
    return room
