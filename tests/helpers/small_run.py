"""The smallest training that has steps, epochs and validations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dccnet.export.bundles.samples import PICTURES
from dccnet.training.run import start_run
from dccnet.training.settings import RunFolder
from dccnet.training.state import Progress
from tests.helpers.networks import PLAIN

NETWORK = PLAIN.replace(image_size=(64, 64))


def small_run(folder: Path, **changes: Any) -> tuple[RunFolder, Progress]:
    """Two epochs of two steps, validated on photographs that are trained on."""
    options = {
        "epochs": 2,
        "pairs": 4,
        "batch_size": 2,
        "weights": "random",
        "synthetic": str(PICTURES),
        "conv4d": "stack",  # compiles nothing
    }
    return start_run(str(folder), NETWORK, options | changes)
