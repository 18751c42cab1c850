"""The benchmarks: a loader each, and the table that finds them."""

from __future__ import annotations

from pathlib import Path

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.benchmarks.pf_pascal import any_pairs, pf_pascal
from dccnet.evaluation.benchmarks.pf_willow import pf_willow
from dccnet.evaluation.benchmarks.spair import SPLITS, spair
from dccnet.evaluation.benchmarks.tss import tss
from dccnet.evaluation.pck import Protocol
from dccnet.runtime.errors import UsageError

BENCHMARKS = ("pf-pascal", "pf-willow", "tss", "spair", "pairs")

__all__ = ["BENCHMARKS", "SPLITS", "load_benchmark"]


def load_benchmark(
    name: str,
    data: Path,
    root: Path | None = None,
    *,
    protocol: Protocol | None = None,
    one_based: bool | None = None,
    split: str | None = None,
) -> Benchmark:
    """Read a benchmark's lists; pictures are read when they are matched.

    ``protocol`` and ``one_based`` are for ``pairs``, ``split`` for ``spair``; None: the usual one. Raises
    :class:`DataError`, and :class:`UsageError` where an option does not apply.
    """
    if name != "pairs" and (protocol is not None or one_based is not None):
        raise UsageError(
            f"{name} has a protocol of its own: --protocol and --one-based go with --benchmark pairs"
        )
    if name != "spair" and split is not None:
        raise UsageError("--split goes with --benchmark spair; of the others, name the list with --data")
    if name == "pairs":
        return any_pairs(data, root, protocol or "bbox", bool(one_based))
    if name == "spair":
        return spair(data, root, split or "test")
    return {"pf-pascal": pf_pascal, "pf-willow": pf_willow, "tss": tss}[name](data, root)
