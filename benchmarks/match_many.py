"""Time of `Matcher.match_many`, which shares features among pairs, compared with matching one by one.

    python benchmarks/match_many.py BUNDLE PAIRS.csv [--batch 1] [--limit N] [--json FILE]

PAIRS.csv has the columns source_image and target_image, paths relative to its folder. Also counts the
encoded pictures.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from results import save

from dccnet.runtime import Matcher, read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json")
    options = parser.parse_args()
    with options.pairs.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[: options.limit]
    folder = options.pairs.parent
    pairs = [(folder / row["source_image"], folder / row["target_image"]) for row in rows]
    matcher = Matcher.open(options.bundle)
    encoded = [0]
    count(matcher.backend, "encode", encoded, lambda frame, *rest: 1)
    count(matcher.backend, "encode_many", encoded, len)
    started = time.perf_counter()
    shared = list(matcher.match_many(pairs, batch=options.batch))
    seconds, pictures = time.perf_counter() - started, encoded[0]
    started = time.perf_counter()
    alone = [matcher.match(read_image(a), read_image(b)) for a, b in pairs]
    seconds_alone = time.perf_counter() - started
    same = np.mean([np.mean(x.index_a == y.index_a) for x, y in zip(shared, alone, strict=True)])
    different = len({picture for pair in pairs for picture in pair})
    print(
        f"{len(pairs)} pairs of {different} pictures; {pictures} encoded, "
        f"one by one {encoded[0] - pictures}"
    )
    print(f"{seconds:.1f} s, one by one {seconds_alone:.1f} s; the same best cells: {same:.2%}")
    save(
        options.json,
        pairs=len(pairs),
        pictures=different,
        encoded=pictures,
        seconds=seconds,
        alone=seconds_alone,
    )


def count(backend: Any, name: str, total: list[int], how_many: Callable[..., int]) -> None:
    """Replace a method of ``backend`` by one that also adds ``how_many`` pictures to ``total``."""
    method = getattr(backend, name, None)
    if method is None:
        return

    def counted(*arguments: Any) -> Any:
        total[0] += how_many(*arguments)
        return method(*arguments)

    setattr(backend, name, counted)


if __name__ == "__main__":
    main()
