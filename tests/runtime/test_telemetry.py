"""ONNX Runtime sends nothing and writes nothing into the home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_MATCH = """
import numpy as np
from dccnet import Matcher
frame = np.zeros((64, 64, 3), np.uint8)
Matcher.open(device="cpu", threads=1).match(frame, frame)
"""


@pytest.mark.parametrize(
    "program",
    [_MATCH, "from dccnet.cli import main; main(['doctor'])"],
    ids=["library", "command"],
)
def test_nothing_is_left_in_the_home_folder(program: str, tmp_path: Path) -> None:
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=False, capture_output=True)
    assert not list(tmp_path.rglob("*"))


def test_the_users_own_choice_is_kept() -> None:
    program = "import os, dccnet.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for chosen in ("0", "1"):
        environment = os.environ | {"ORT_DISABLE_TELEMETRY": chosen}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
        )
        assert done.stdout.strip() == chosen
