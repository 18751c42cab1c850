"""Children of this package run the code of their parent, whatever lies in the current folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

import dccnet
from dccnet.runtime.child import child_command
from tests.helpers.paths import ROOT

HOSTILE = "raise SystemExit('the current folder was imported')"
NAMES = ("dccnet", "runtime", "json", "runpy", "importlib", "click", "numpy", "cli", "commands", "tables")
PROBE = """\
import json, multiprocessing, sys
import dccnet, dccnet.runtime.child

def where():
    import dccnet
    return dccnet.__file__

if __name__ == "__main__":
    found = [dccnet.__file__]
    if "--spawn" in sys.argv:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply_async(where).get(timeout=60))
    print(json.dumps([*found, sys.argv[1:]]))
"""
PARENT = """\
import sys
sys.path[:] = [folder for folder in sys.path if folder]
sys.path += sys.argv[2:]
import json, subprocess
import dccnet
from dccnet.runtime.child import child_command
done = subprocess.run(child_command("dccnet.probe", "a", sys.argv[1]), capture_output=True, text=True)
assert done.returncode == 0, done.stderr
print(json.dumps([dccnet.__file__, *json.loads(done.stdout)]))
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(HOSTILE)
    for name in ("dccnet", "runtime"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(HOSTILE)
        (folder / name / "__main__.py").write_text(HOSTILE)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without any package."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True, with_pip=False)
    return folder / "bin" / "python"


def install(folder: Path) -> Path:
    """A package with what these tests need of it, as a wheel or a checkout has it, and a module to run."""
    package = folder / "dccnet"
    shutil.copytree(ROOT / "runtime", package / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dccnet" / "__init__.py", package)
    (package / "probe.py").write_text(PROBE)
    return package / "__init__.py"


def answers(
    python: Path, folder: Path, *path: str, code: str = PARENT, option: str = "--b", pythonpath: str = ""
) -> list[Any]:
    """What a parent in ``folder`` prints: the package's file for itself and for its child (with
    ``--spawn`` for a process that the child spawns, too), and the arguments of the child.

    The parent appends ``path`` to its ``sys.path``.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-c", code, option, *path],
        cwd=folder,
        env=inherited | ({"PYTHONPATH": pythonpath} if pythonpath else {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_the_command_line_starts_in_a_hostile_folder(hostile: Path) -> None:
    """As this interpreter has the package: usually an editable installation."""
    done = subprocess.run(child_command("dccnet", "--version"), cwd=hostile, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert dccnet.__version__ in done.stdout


def test_the_folder_would_be_imported_by_an_ordinary_child(hostile: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "dccnet"], cwd=hostile, capture_output=True, text=True)
    assert done.returncode != 0
    assert "the current folder was imported" in done.stderr


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_installed(hostile: Path, python: Path, tmp_path: Path, editable: bool) -> None:
    site = next(python.parents[1].glob("lib*/python*/site-packages"))
    if not editable:
        installed = install(site)
    else:
        installed = install(tmp_path / "checkout")
        (site / "editable.pth").write_text(str(tmp_path / "checkout"))
    try:
        assert answers(python, hostile) == [*[str(installed)] * 2, ["a", "--b"]]
    finally:
        shutil.rmtree(site / "dccnet", ignore_errors=True)
        (site / "editable.pth").unlink(missing_ok=True)


@pytest.mark.parametrize("path", ["absolute", "."])
def test_a_checkout_on_the_path(hostile: Path, python: Path, tmp_path: Path, path: str) -> None:
    installed = install(tmp_path / "checkout")
    folder, path = (installed.parents[1], ".") if path == "." else (hostile, str(installed.parents[1]))
    assert answers(python, folder, pythonpath=path) == [*[str(installed)] * 2, ["a", "--b"]]


def test_a_checkout_that_only_the_parent_has_on_its_path(
    hostile: Path, python: Path, tmp_path: Path
) -> None:
    """As where ``python -m dccnet`` was started in the checkout. What the child spawns finds it, too."""
    installed = install(tmp_path / "checkout")
    for name in ("runpy", "importlib"):  # which Python itself imports from the current folder to spawn
        (hostile / f"{name}.py").unlink()
    found = answers(python, hostile, str(installed.parents[1]), option="--spawn")
    assert found == [*[str(installed)] * 3, ["a", "--spawn"]]


def test_the_parents_package_and_not_another_that_is_installed(
    hostile: Path, python: Path, tmp_path: Path
) -> None:
    installed, other = install(tmp_path / "checkout"), install(tmp_path / "other")
    code = PARENT.replace("sys.path += sys.argv[2:]", "sys.path[:0] = sys.argv[2:]")
    found = answers(python, hostile, str(installed.parents[1]), code=code, pythonpath=str(other.parents[1]))
    assert found == [*[str(installed)] * 2, ["a", "--b"]]
