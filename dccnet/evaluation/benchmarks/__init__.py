"""Loaders of the benchmarks, by name."""

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
    keep_border: bool = False,
) -> Benchmark:
    """Read a benchmark's lists; its pictures are read when they are matched.

    ``data`` is the benchmark's folder or list, ``root`` the folder that paths in the list are relative to.
    ``protocol`` and ``one_based`` apply to ``pairs`` only, ``split`` to ``spair`` only, ``keep_border`` to
    ``tss`` only; None selects the default. Raises :class:`DataError`, and :class:`UsageError` for an
    option that does not apply.
    """
    if name != "pairs" and (protocol is not None or one_based is not None):
        raise UsageError(
            f"{name} has its own protocol: --protocol and --one-based apply to --benchmark pairs only"
        )
    if name != "spair" and split is not None:
        raise UsageError(
            "--split applies to --benchmark spair only; for others, give the list of the split with --data"
        )
    if name != "tss" and keep_border:
        raise UsageError("--keep-border applies to --benchmark tss only")
    if name == "tss":
        return tss(data, root, keep_border)
    if name == "pairs":
        return any_pairs(data, root, protocol or "bbox", bool(one_based))
    if name == "spair":
        return spair(data, root, split or "test")
    return {"pf-pascal": pf_pascal, "pf-willow": pf_willow}[name](data, root)
