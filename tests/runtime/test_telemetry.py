"""ONNX Runtime and OpenVINO send nothing and write nothing into the home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

_MATCH = """
import numpy as np
from dccnet import Matcher
frame = np.zeros((64, 64, 3), np.uint8)
Matcher.open(device="cpu", threads=1).match(frame, frame)
"""


_WITH_OPENVINO = _MATCH.replace('device="cpu"', 'backend="openvino"')
_NEEDS_OPENVINO = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
_DOCTOR = "from dccnet.cli import main; main(['doctor'])"
_AUTOMATIC = ("CI", "JENKINS_URL", "TF_BUILD")
"""By which OpenVINO's telemetry knows tests that run without a person, and keeps silent."""


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(_MATCH, id="library"),
        pytest.param(_WITH_OPENVINO, id="openvino", marks=_NEEDS_OPENVINO),
        pytest.param(_DOCTOR, id="command"),
    ],
)
def test_nothing_is_left_in_the_home_folder(program: str, tmp_path: Path) -> None:
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", *_AUTOMATIC)
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(tmp_path)}
    check = program != _DOCTOR  # which may find that something is missing
    subprocess.run([sys.executable, "-c", program], env=environment, check=check, capture_output=True)
    assert not list(tmp_path.rglob("*"))


def test_the_users_own_choice_is_kept() -> None:
    program = "import os, dccnet.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for chosen in ("0", "1"):
        environment = os.environ | {"ORT_DISABLE_TELEMETRY": chosen}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
        )
        assert done.stdout.strip() == chosen
