"""Small networks, bundles and pictures that the tests share."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.images import read_image
from tests.helpers.bundles import MADE_BEFORE, Bundles, export_once
from tests.helpers.commands import Cli, called_here
from tests.helpers.paths import DATA

if TYPE_CHECKING:  # `make test-oldest` runs the runtime's tests where torch is not installed
    import torch

    from dccnet.network.model import DCCNet

if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each, and for what it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """Outputs of the authors' own code; golden.md says what each array is."""
    import torch

    with np.load(DATA / "golden.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


@pytest.fixture(scope="session")
def small_model() -> DCCNet:
    from tests.helpers.networks import SMALL, build, decisive

    return decisive(build(SMALL))


@pytest.fixture(scope="session")
def checkpoint(small_model: DCCNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dccnet.weights.checkpoint import save_checkpoint

    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_checkpoint(small_model, path)
    return path


@pytest.fixture(scope="session")
def pictures() -> list[Path]:
    return sorted(PICTURES.glob("*.jpg"))


@pytest.fixture(scope="session")
def photos(pictures: list[Path]) -> list[Image]:
    return [read_image(path) for path in pictures]


@pytest.fixture(scope="session")
def bundles(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Exported when they are asked for, which takes seconds each, and once for all processes that run
    tests; or those that were made before."""
    if MADE_BEFORE in os.environ:
        return lambda precision, lowering: Bundle.open(
            Path(os.environ[MADE_BEFORE]) / f"{precision}-{lowering}"
        )
    model, folder = request.getfixturevalue("small_model"), tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return functools.cache(lambda precision, lowering: export_once(model, folder, precision, lowering))


@pytest.fixture(scope="session")
def bundle(bundles: Bundles) -> Bundle:
    return bundles("float32", "stack")


@pytest.fixture(scope="session")
def video(photos: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames, 160x120, panning over a photograph."""
    path = tmp_path_factory.mktemp("video") / "pan.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (160, 120))
    for shift in range(12):
        writer.write(np.ascontiguousarray(photos[0][20:140, 4 * shift : 4 * shift + 160]))
    writer.release()
    return path


@pytest.fixture(scope="session")
def dcc() -> Cli:
    """The real command in its own process."""

    def run(*arguments: str | Path, timeout: float = 300, **options: Any) -> CompletedProcess[str]:
        command = [sys.executable, "-m", "dccnet", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)

    return run


@pytest.fixture(scope="session")
def dcc_here() -> Cli:
    """The command in this process: for tests of what it does, not of how it starts and ends."""
    return called_here
