"""The programs in examples/ run as a user runs them, and say what they should."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dccnet.runtime.images import read_image
from tests.helpers.animals import ANIMALS
from tests.helpers.paths import ROOT

EXAMPLES = ROOT / "examples"
CAT, RACCOON, MOOSE = (str(ANIMALS / f"{name}.jpg") for name in ("cat", "raccoon", "moose"))
Example = Callable[..., str]


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """Runs an example in a folder of its own, and returns what it prints."""

    def run(name: str, *arguments: str) -> str:
        command = [sys.executable, EXAMPLES / f"{name}.py", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        return done.stdout

    return run


def test_the_page_lists_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert set(re.findall(r"\]\((\w+\.\w+)\)", page)) == files


def test_camera_loop(example: Example, video: Path) -> None:
    lines = example("camera_loop", CAT, str(video), "120,80; 60,40").splitlines()
    assert lines and all(len(line.split("  ")) >= 2 for line in lines)


def test_callback_node(example: Example) -> None:
    assert re.search(
        r"^[12] \[\[.*\d+ frames dropped", example("callback_node", CAT, RACCOON, CAT, MOOSE), re.S | re.M
    )


def test_async_batch_goes_on_after_a_file_that_is_no_picture(example: Example) -> None:
    printed = example("async_batch", CAT, RACCOON, str(ROOT / "README.md"))
    assert "mutual matches" in printed and "not a picture" in printed


def test_choose_confident(example: Example) -> None:
    printed = example("choose_confident", CAT, RACCOON, "0.5")
    assert "confidence" in printed and "mutual matches have a confidence of at least 0.5" in printed


def test_propagate(example: Example, tmp_path: Path) -> None:
    for path in (CAT, RACCOON):
        (tmp_path / Path(path).name).symlink_to(path)
    height, width = read_image(CAT).shape[:2]
    annotated = {
        "images": [{"id": 1, "file_name": "cat.jpg", "width": width, "height": height}],
        "categories": [{"id": 1, "name": "animal", "keypoints": ["nose", "eye"]}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "keypoints": [225, 170, 2, 180, 120, 2],
                "num_keypoints": 2,
            }
        ],
    }
    (tmp_path / "annotated.json").write_text(json.dumps(annotated))
    printed = example("propagate", "annotated.json", "raccoon.jpg")
    assert re.match(r"raccoon.jpg: animal, \d of 2 points, 0\.\d\d", printed)
    written = json.loads((tmp_path / "raccoon.found.json").read_text())
    assert len(written["annotations"][0]["keypoints"]) == 6


def test_morph(example: Example, tmp_path: Path) -> None:
    assert example("morph", CAT, RACCOON, "morph.gif").startswith("morph.gif: 20 frames")
    assert (tmp_path / "morph.gif").read_bytes().startswith(b"GIF8")


def test_serve_client(example: Example) -> None:
    command = [sys.executable, "-m", "dccnet", "serve", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert server.stderr is not None
        address = next(found[0] for line in server.stderr if (found := re.findall(r"http://[\d.:]+", line)))
        printed = example("serve_client", address, CAT, "225,170", RACCOON, MOOSE)
    finally:
        server.terminate()
        server.wait(30)
    assert len(printed.splitlines()) == 2 and printed.startswith(RACCOON)


def test_custom_backbone(example: Example) -> None:
    assert re.match(
        r"mobilenet_v3: \d+ of 100 cells match mutually", example("custom_backbone", CAT, RACCOON)
    )


def test_custom_benchmark(example: Example, tmp_path: Path) -> None:
    points = [[100.0, 60.0], [300.0, 200.0]]
    rows = [
        {"a": path, "b": path, "class": "animal", "points_a": points, "points_b": points}
        for path in (CAT, RACCOON)
    ]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    assert "PCK at (0.05, 0.1): (100.0, 100.0), 95 % within" in example("custom_benchmark", "list.json")


@pytest.mark.slow  # trains and exports
def test_the_notebook_runs_from_two_pictures_to_a_trained_network(tmp_path: Path) -> None:
    notebook = json.loads((EXAMPLES / "start.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    program = "import shlex, subprocess, sys\n" + "\n".join(map(_as_python, cells))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "confidence 0." in done.stdout and "mutual matches of" in done.stdout


def _as_python(cell: str) -> str:
    """A cell without Jupyter: ``!dcc …`` runs the command."""
    if not cell.startswith("!dcc "):
        return cell
    command = f"[sys.executable, '-m', 'dccnet', *shlex.split({cell[5:]!r})]"
    return f"subprocess.run({command}, check=True)"
