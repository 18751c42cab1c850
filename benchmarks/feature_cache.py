"""Training throughput with and without the feature cache on disk, and the time spent waiting for pictures.

    python benchmarks/feature_cache.py LIST [--preset tiny] [--steps 4] [--rounds 3] [--recipe KEY=VALUE]

LIST is a CSV list of pairs. Both ways take the same steps of one epoch, in turns, in one process:
"without" computes the backbone for every picture every time, "with" reads the features that the first
round wrote. "waited" is the share of time that steps wait for background threads to read and resize
pictures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import harmonic_mean

from dccnet.evaluation.pairs import read_pairs
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.training.autotune import usual_lowering
from dccnet.training.commands import network_config
from dccnet.training.cpu import flush_denormals, keep_freed_memory
from dccnet.training.recipes import recipe
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.state import Progress
from dccnet.training.trainer import Trainer
from dccnet.training.validation import Validation
from dccnet.weights.pretrained import load_backbone_weights


class Clock:
    """Records the speed of every step."""

    def __init__(self) -> None:
        self.images_per_s: list[float] = []
        self.waited: list[float] = []

    def on_step(self, progress: Progress, steps: int, values: dict[str, float]) -> None:
        self.images_per_s.append(values["images_per_s"])
        self.waited.append(values["waited_s"])

    def on_validation(self, progress: Progress, validation: Validation) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipe", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    keep_freed_memory()
    flush_denormals(True)
    changes = {key: json.loads(value) for key, value in (text.split("=", 1) for text in options.recipe)}
    values = {"data": str(options.list), "cache_gb": 0.0} | recipe(options.preset) | changes
    model = DCCNet(network_config(options.preset, ()))
    model.lower(TRAINING_LOWERINGS[usual_lowering(model)])
    load_backbone_weights(model.backbone, model.config.backbone, "imagenet")
    pairs = read_pairs(options.list)
    clocks = {"without": Clock(), "with": Clock()}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(options.rounds + 1):
            for name, clock in clocks.items():
                cache = f"{scratch}/cache" if name == "with" else None
                settings = TrainSettings(**{**values, "feature_cache": cache, "epochs": 1})
                size = settings.batch_size * options.steps
                trainer = Trainer(model, pairs[:size], [], settings, RunFolder(Path(scratch)))
                trainer.run(clock if turn else Clock())  # the first round fills the cache
    throughput = {}
    for name, clock in clocks.items():
        # Steps have equal sizes, so this is their joint rate.
        throughput[name] = harmonic_mean(clock.images_per_s)
        waited = sum(clock.waited) * throughput[name] / (2 * settings.batch_size * len(clock.waited))
        print(
            f"{name:8} {throughput[name]:6.2f} images/s (steps {min(clock.images_per_s):.2f} to "
            f"{max(clock.images_per_s):.2f}), waited {waited:.2%} of the time"
        )
    print(f"with the cache {throughput['with'] / throughput['without']:.2f} times as fast")


if __name__ == "__main__":
    main()
