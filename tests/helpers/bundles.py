"""Bundles that the tests share.

``python -m tests.helpers.bundles FOLDER`` makes those that the runtime's tests take, for an environment
without torch, which finds them through the environment variable ``DCC_TEST_BUNDLES``.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime.bundle import Bundle

if TYPE_CHECKING:
    from dccnet.network.model import DCCNet

Bundles = Callable[[str, str], Bundle]
"""By precision and lowering."""

MADE_BEFORE = "DCC_TEST_BUNDLES"
"""The environment variable that names the folder of bundles made before."""


def export_once(model: DCCNet, folder: Path, precision: str, lowering: str) -> Bundle:
    """The bundle in ``folder``, exported by the first process that asks for it."""
    from dccnet.export.build import export_bundle

    folder.mkdir(parents=True, exist_ok=True)
    path, half = folder / f"{precision}-{lowering}", precision == "float16"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return Bundle.open(path)
        pictures = sorted(PICTURES.glob("*.jpg"))
        return export_bundle(model, path, pictures, maps=True, conv4d=lowering, half=half)


if __name__ == "__main__":
    from tests.helpers.networks import SMALL, build, decisive

    network = decisive(build(SMALL))
    for precision, lowering in (("float32", "stack"), ("float16", "spectral")):
        export_once(network, Path(sys.argv[1]), precision, lowering)
