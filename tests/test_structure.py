"""Arrows point one way: which room may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "runtime": set(),
    "dccnet": {"runtime"},
    "evaluation": {"dccnet", "runtime"},
    "training": {"dccnet", "evaluation", "runtime"},
    "bundles": {"runtime"},
    "calibration": {"bundles", "evaluation", "runtime"},
    "export": {"bundles", "calibration", "dccnet", "runtime"},
    "diagnostics": {"bundles", "runtime"},
    "viewer": {"runtime"},
    "demo": {"bundles", "dccnet", "evaluation", "export", "runtime", "training", "viewer"},
}
FORBIDDEN = {
    "runtime": {"torch", "torchvision", "onnx", "safetensors"},
    "dccnet": {"onnx", "onnxruntime", "click", "rich", "cv2"},
    "evaluation": {"onnx", "onnxruntime"},
    "training": {"onnx", "onnxruntime"},
    "bundles": {"torch"},
    "calibration": {"torch"},
}


def imports(room: str) -> set[str]:
    found = set()
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                found.add(str(node.module).split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_lies_below_them(room: str) -> None:
    assert imports(room) & set(ROOMS) - {room} <= ROOMS[room]
    assert not imports(room) & FORBIDDEN.get(room, set())


def test_no_room_is_left_out() -> None:
    rooms = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert rooms == set(ROOMS)


def test_runtime_works_without_torch_in_the_process() -> None:
    code = "import sys, runtime; assert not {'torch', 'onnxruntime', 'click', 'rich'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
