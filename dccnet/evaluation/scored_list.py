"""``benchmark.json`` of an evaluation: from which files its pairs come, so that they can be read again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.pck import Protocol
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import UsageError
from dccnet.runtime.files import write_text
from dccnet.runtime.reading import read_json

FILE = "benchmark.json"


@dataclass(frozen=True, slots=True)
class ScoredList:
    """The arguments of :func:`load_benchmark`."""

    benchmark: str
    data: str
    root: str | None = None
    protocol: Protocol | None = None
    one_based: bool | None = None
    split: str | None = None
    keep_border: bool = False

    def load(self) -> Benchmark:
        """Read the lists. Raises what :func:`load_benchmark` does."""
        return load_benchmark(
            self.benchmark,
            Path(self.data),
            None if self.root is None else Path(self.root),
            protocol=self.protocol,
            one_based=self.one_based,
            split=self.split,
            keep_border=self.keep_border,
        )

    def at(self, data: Path | None, root: Path | None) -> ScoredList:
        """The same list at other places, where these are given."""
        return dataclasses.replace(
            self,
            data=self.data if data is None else str(data),
            root=self.root if root is None else str(root),
        )

    def write(self, folder: Path) -> None:
        """Write the file, which names absolute paths."""
        absolute = self.at(
            Path(self.data).absolute(), None if self.root is None else Path(self.root).absolute()
        )
        write_text(folder / FILE, json.dumps(dataclasses.asdict(absolute), indent=2) + "\n")


def read_scored_list(folder: Path) -> ScoredList:
    """What an evaluation in ``folder`` was of. Raises :class:`UsageError` if it does not say so."""
    try:
        return decode(ScoredList, read_json(folder / FILE))
    except FileNotFoundError:
        raise UsageError(
            f"{folder} has no {FILE}, because an earlier version wrote it: run the same dcc eval again, "
            "which keeps all scores"
        ) from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{folder / FILE} is damaged ({error}): run dcc eval again") from error
