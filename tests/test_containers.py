"""The containers' files, and their steps without containers. Run by ``make test-containers``."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

if "DCC_TEST_CONTAINERS" not in os.environ:
    pytest.skip("run by make test-containers, whose environment has the linters", allow_module_level=True)

import requests

CONTAINERS = ROOT / "containers"
PICTURES = ROOT / "export" / "bundles" / "pictures"
PYTHON = "/usr/bin/python3"
"""One that every user may run."""
READ_ONLY = (
    "mount --make-rprivate / && mount -t tmpfs tmpfs /tmp && mount -o remount,bind,ro / && exec setpriv "
    "--reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "
)
"""What ``read_only``, ``tmpfs``, ``USER`` and ``cap_drop`` of ``compose.yaml`` do."""


def lint(tool: str, *arguments: str | Path) -> None:
    command = [Path(sys.executable).with_name(tool), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_hadolint_finds_nothing(name: str, tmp_path: Path) -> None:
    lint("hadolint", CONTAINERS / name)
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN pip install numpy\n")
    with pytest.raises(AssertionError, match="DL3006"):
        lint("hadolint", tmp_path / "Dockerfile")


def test_compose_and_kubernetes_know_every_field(tmp_path: Path) -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", CONTAINERS / "compose.yaml")
    manifest = CONTAINERS / "kubernetes.yaml"
    lint("kubernetes-validate", "--strict", manifest)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(manifest.read_text().replace("readOnlyRootFilesystem", "readOnlyRoot"))
    with pytest.raises(AssertionError, match="readOnlyRoot"):
        lint("kubernetes-validate", "--strict", wrong)


def instruction(name: str) -> list[str]:
    """The JSON list of the last instruction ``name`` of the Dockerfile."""
    text = (CONTAINERS / "Dockerfile").read_text().replace("\\\n", "")
    values: list[str] = json.loads(re.findall(rf"^{name}[^\n\[]* (\[.*\])$", text, re.M)[-1])
    return values


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the Dockerfile's first stage makes of the files that ``.dockerignore`` lets through."""
    if os.geteuid() != 0:
        pytest.skip("a read-only root needs root")
    # Not below pytest's folder, which only its user may enter, nor below /tmp, which is another one later.
    folder = ROOT / "build" / "container-steps"
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "source"
    source.mkdir(parents=True)
    for name in re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M):
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, source / name)
    (run,) = re.findall(r"^RUN (.*)$", (CONTAINERS / "Dockerfile").read_text(), re.M)
    run = run.replace("/opt/dcc", str(folder / "dcc")).replace("python3", PYTHON, 1)
    subprocess.run(["sh", "-c", f"umask 022 && {run}"], cwd=source, check=True, capture_output=True)
    shutil.rmtree(source)
    yield folder / "dcc"
    shutil.rmtree(folder)


def test_the_service_runs_unprivileged_on_a_read_only_root(installed: Path) -> None:
    start = [*instruction("ENTRYPOINT"), *instruction("CMD")]
    start[start.index("8000")] = "0"  # other tests may have that port
    environment = {
        "PATH": f"{installed}/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DCC_TOKEN": "secret",
    }
    command = ["unshare", "--mount", "sh", "-c", f'{READ_ONLY} "$@"', "sh", *start]
    process = subprocess.Popen(command, env=environment, cwd="/", stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        assert process.stderr is not None
        while not (found := re.search(r"listening on http://0.0.0.0:(\d+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        assert "warning" not in said
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\s10001\s", status, re.M) and re.search(r"^CapEff:\s0+$", status, re.M)
        mounts = Path(f"/proc/{process.pid}/mounts").read_text()
        assert re.search(r"^\S+ / \S+ ro[, ]", mounts, re.M)

        check = [part.replace("8000", found[1]) for part in instruction("HEALTHCHECK")]
        assert subprocess.run(check, env=environment, cwd="/").returncode == 0
        url, token = f"http://127.0.0.1:{found[1]}", {"Authorization": "Bearer secret"}
        large = (PICTURES / "cat.jpg").read_bytes() + bytes(3 << 20)  # spooled to /tmp
        files = {"a": large, "b": (PICTURES / "coffee.jpg").read_bytes()}
        answer = requests.post(f"{url}/v1/match", files=files, headers=token, timeout=120)
        assert answer.status_code == 200, answer.text
        assert requests.get(f"{url}/v1/model", timeout=60).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        wrong = [part.replace("8000", "1") for part in instruction("HEALTHCHECK")]
        assert subprocess.run(wrong, env=environment, cwd="/", capture_output=True).returncode == 1
    finally:
        process.kill()
        process.wait()
