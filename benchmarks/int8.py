"""Accuracy of INT8: every method and layout, and of a plan on pairs that its search did not see.

    python benchmarks/int8.py TRAIN.csv TEST.csv BUNDLE [--budget 0.5] [--json FILE]

BUNDLE is calibrated on pictures of TRAIN.csv and scored on the keypoints (0-based) of TEST.csv. With
--budget a plan is searched on every second pair of TEST.csv and scored on the others. For speed and size
use ``dcc calibrate``, then ``dcc bench BUNDLE INT8... --threads 1``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dccnet.calibration.agreement import AgreementTest, cost, pairs_from_list
from dccnet.calibration.frames import sample_frames
from dccnet.calibration.int8.candidates import Int8Candidates, open_layers
from dccnet.calibration.int8.methods import METHODS
from dccnet.calibration.int8.observe import observe
from dccnet.calibration.int8.quantise import TARGETS
from dccnet.calibration.int8.table import make_table
from dccnet.calibration.search import search
from dccnet.calibration.sensitivity import measure
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.manifest import Agreement
from dccnet.runtime.matcher import Matcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--every", type=int, default=1, help="use every n-th pair of TEST.csv")
    parser.add_argument("--budget", type=float, help="search a plan within this loss, in points of PCK")
    parser.add_argument("--level", default="block")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    models, layers = open_layers(bundle, ("backbone",))
    frames = sample_frames(options.train, options.frames, bundle.manifest.image_size).chosen
    table = make_table(bundle, frames, observe(bundle, layers, frames))
    pairs = pairs_from_list(options.test, 1 << 30)[:: options.every]
    before = Matcher.open(bundle, backend="onnxruntime", device="cpu")
    print(f"{len(frames)} frames, {len(pairs)} pairs, PCK@0.1 of the box")
    print(f"{'':34}{'PCK':>8}{'before':>8}{'changed':>9}{'moved px':>10}")
    results: list[dict[str, Any]] = []

    def show(name: str, found: Agreement) -> None:
        print(
            f"{name:34}{found.pck:8.2f}{found.reference_pck:8.2f}{found.changed_cells:9.2%}"
            f"{found.displacement:10.2f}",
            flush=True,
        )
        results.append({"name": name, **dataclasses.asdict(found)})

    def measured(candidates: Int8Candidates, chosen: Collection[str], test: AgreementTest) -> Agreement:
        return test.measure(candidates.matcher(chosen))

    for target in options.targets.split(","):
        if options.budget is None:
            test = AgreementTest.prepare(before, pairs)
            for method in options.methods.split(","):
                candidates = Int8Candidates(bundle, layers, table, method, target, models)
                show(f"{target}, {method}", measured(candidates, {layer.name for layer in layers}, test))
            continue
        seen, unseen = (AgreementTest.prepare(before, pairs[start::2]) for start in (0, 1))
        for method in options.methods.split(","):
            candidates = Int8Candidates(bundle, layers, table, method, target, models)
            groups = candidates.groups(options.level)
            sensitivities = [measure(candidates, group, seen) for group in groups]
            for s in sensitivities:
                print(
                    f"  {s.group.name:32}{cost(s.agreement):+8.2f} points, {s.group.macs / 1e6:7.1f} MMAC"
                )
            plan = search(candidates, sensitivities, options.budget, seen)
            name = f"{target}, {method}, plan"
            print(f"{name}: {len(plan.groups)} of {len(groups)} groups within {options.budget:g} points")
            show(f"{name}, searched on", plan.agreement)
            show(f"{name}, others", measured(candidates, plan.layers, unseen))
            everything = {layer.name for layer in layers}
            show(f"{target}, {method}, all, others", measured(candidates, everything, unseen))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
