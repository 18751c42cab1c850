"""Engines that TensorRT-RTX builds from bundles, on the CPU: sizes, GPU memory, build time, precision.

    python benchmarks/engines.py BUNDLE... [--target sm80,sm86,sm89,sm120] [--batch 1:1:8] [--json FILE]

Give the float32 bundle first: the others are compared with it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.manifest import EngineRecord
from dccnet.runtime.tensorrt.builder import BatchRange, BuildSettings
from dccnet.runtime.tensorrt.bundled import build_engines
from dccnet.runtime.tensorrt.library import RTX, load_library

FIELDS = {
    "bytes": "plan",
    "weight_bytes": "weights",
    "activation_bytes": "activation",
    "scratch_bytes": "scratch",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--target", default="sm80,sm86,sm89,sm120")
    parser.add_argument("--batch", type=BatchRange.parse, default=BatchRange(1, 1, 8))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    library, targets = load_library(RTX), tuple(options.target.split(","))
    settings = BuildSettings(batch=options.batch, targets=targets)
    built = {
        path: [engine.record for engine in build_engines(Bundle.open(path), library, settings)]
        for path in options.bundles
    }
    first = built[options.bundles[0]]
    batch = ":".join(map(str, options.batch))
    print(
        f"{library.title}, {', '.join(targets)}, batch {batch}; in brackets: relative to the first bundle"
    )
    titles = "".join(f"{title} MB".rjust(16) for title in FIELDS.values())
    print(f"{'':32}{'precision':>10}{titles}{'s':>7}")
    for path, records in built.items():
        for record, base in zip(records, first, strict=True):
            columns = "".join(_column(record, base, field) for field in FIELDS)
            name = f"{path.name[-22:]} {record.graph}"
            print(f"{name:32}{record.precision:>10}{columns}{record.build_seconds:7.1f}")
            print(f"{'':34}{_kernels(record)}")
    if options.json:
        rows = {str(path): [dataclasses.asdict(r) for r in records] for path, records in built.items()}
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _column(record: EngineRecord, base: EngineRecord, field: str) -> str:
    value, other = getattr(record, field), getattr(base, field)
    if value is None:
        return f"{'?':>16}"
    return f"{value / 1e6:.1f} ({value / other:.2f})".rjust(16)


def _kernels(record: EngineRecord) -> str:
    return "; ".join(
        f"{kind}: " + ", ".join(f"{count} {precision}" for precision, count in counts.items())
        for kind, counts in record.layers.items()
    )


if __name__ == "__main__":
    main()
