"""What installing brings: one package, whatever lies in the current folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from dccnet.runtime.bundle import Bundle
from tests.helpers.paths import ROOT

LINKS = ("calibration", "demo", "export", "runtime", "cli.py")
TEXTS = (
    *("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"),
    *("Makefile", ".pre-commit-config.yaml", "mkdocs.yml", "noxfile.py"),
)
HOSTILE = "raise SystemExit('a file of the current folder was run instead of dcc')\n"
Dcc = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the repository in another folder, links kept, nothing installed."""
    folder = tmp_path_factory.mktemp("checkout") / "repository"
    folder.mkdir()
    rooms = ("calibration", "demo", "dccnet", "export", "runtime")
    for name in (*rooms, "benchmarks", "docs", "examples", "tests", ".ci", ".github"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
    for name in ("cli.py", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", *TEXTS):
        shutil.copy(ROOT / name, folder / name)
    return folder


def pip(*arguments: str | Path, python: Path | str = sys.executable) -> CompletedProcess[str]:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def build_wheel(source: Path, folder: Path) -> CompletedProcess[str]:
    return pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = build_wheel(checkout, folder)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_one_name_and_every_file(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"dccnet", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}
    expected = set()
    for room in ("calibration", "demo", "export", "runtime"):
        expected |= {
            f"dccnet/{p.relative_to(checkout)}" for p in (checkout / room).rglob("*") if p.is_file()
        }
    real = (p for p in (checkout / "dccnet").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    expected |= {str(p.relative_to(checkout)) for p in real}
    assert {n for n in names if n.startswith("dccnet/")} == {e for e in expected if "__pycache__" not in e}
    assert {"dccnet/cli.py", "dccnet/py.typed", "dccnet/runtime/viewer/page.html"} <= names


def test_the_source_distribution_has_every_file_and_no_warning(checkout: Path, tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    shutil.copytree(checkout, source, symlinks=True, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    real = [p for p in source.rglob("*") if p.is_file() and not p.is_symlink()]
    code = "import sys; from setuptools.build_meta import build_sdist as build; print(build(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, made], cwd=source, capture_output=True, text=True, check=True
    )
    assert "warning" not in (done.stdout + done.stderr).lower(), done.stderr
    with tarfile.open(made / done.stdout.split()[-1]) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    rooms = ("calibration", "demo", "export", "runtime", "cli.py")  # packed where the links in dccnet/ are
    names = (p.relative_to(source) for p in real)
    expected = {f"dccnet/{name}" if name.parts[0] in rooms else str(name) for name in names}
    assert expected <= packed
    assert not any("__pycache__" in name for name in packed)


def test_a_checkout_without_links_says_what_to_set(checkout: Path, tmp_path: Path) -> None:
    """As git makes it with core.symlinks=false, on Windows."""
    without = tmp_path / "without"
    shutil.copytree(checkout, without, symlinks=True)
    for name in LINKS:
        (without / "dccnet" / name).unlink()
        (without / "dccnet" / name).write_text(f"../{name}")
    done = build_wheel(without, tmp_path / "wheel")
    assert done.returncode == 1
    assert "git config core.symlinks true" in done.stdout + done.stderr
    assert not list(tmp_path.glob("wheel/*.whl"))


def test_a_bare_checkout_runs_with_its_path_alone(checkout: Path) -> None:
    code = "import dccnet.cli, sys; print(dccnet.cli.__file__); dccnet.cli.main(['--help'])"
    environment = {**os.environ, "PYTHONPATH": "."}
    for command in (["-c", code], ["-m", "dccnet", "--help"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "Find correspondences" in done.stdout
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, env=environment, capture_output=True, text=True
    ).stdout
    assert Path(shown.splitlines()[0]).is_relative_to(checkout)


@pytest.fixture(scope="module", params=["wheel", "editable"])
def dcc_there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dcc:
    """``dcc`` in a folder full of names that it must not import.

    From the wheel in a clean environment with the extra ``cpu`` alone, and from the editable install that
    these tests run in.
    """
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("cli.py", "runtime.py", "evaluation.py", "training.py", "bundles.py", "demo.py"):
        (folder / name).write_text(HOSTILE)
    for name in ("runtime", "export", "viewer", "calibration", "diagnostics"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(HOSTILE)
    if request.param == "wheel":
        environment = tmp_path_factory.mktemp("environment")
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        done = pip("install", "--quiet", f"{request.getfixturevalue('wheel')}[cpu]", python=python)
        assert done.returncode == 0, done.stderr
        probe = "import importlib.util as u; raise SystemExit(u.find_spec('torch') is not None)"
        assert subprocess.run([python, "-c", probe]).returncode == 0
        script = environment / "bin" / "dcc"
    else:
        script = Path(sys.executable).with_name("dcc")

    def run(*arguments: str | Path) -> CompletedProcess[str]:
        command = [str(script), *map(str, arguments)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    return run


def test_commands_run_beside_files_of_the_same_names(
    dcc_there: Dcc, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    a, b = pictures[:2]
    for arguments in (
        ("match", a, b),  # with the built-in model
        ("match", bundle.path, a, b, "-o", tmp_path / "matches.json"),
        ("view", bundle.path, a, b, "-o", tmp_path / "page.html"),
        ("info", bundle.path),
        ("bench", bundle.path, "--backend", "onnxruntime", "--rounds", "3", "-o", tmp_path / "bench.md"),
        ("--version",),
    ):
        done = dcc_there(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    assert json.loads((tmp_path / "matches.json").read_text())["schema"] == 1
    assert "<html" in (tmp_path / "page.html").read_text()
    doctor = dcc_there("doctor", "--json")
    assert json.loads(doctor.stdout)["abilities"]["match on the CPU"], doctor.stderr


def test_the_version_is_said_once() -> None:
    import dccnet

    assert re.fullmatch(r"\d+\.\d+\.\d+", dccnet.__version__)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{dccnet.__version__}]" in changelog or f"## {dccnet.__version__}" in changelog
