"""A second process writes the matcher as one process would, and never outlives the first one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from dccnet.export import build as builder
from dccnet.export import matcher_process
from dccnet.export.build import export_bundle
from dccnet.export.bundles.samples import PICTURES
from dccnet.export.matcher_process import MatcherProcess, second_process
from dccnet.network.model import DCCNet
from dccnet.runtime.bundle import Bundle
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.networks import PLAIN, build, decisive

T = TypeVar("T")
FAILS = "print('MemoryError: no room for it'); raise SystemExit(1)"
SLEEPS = "import time; time.sleep(60)"


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher_process, "usable_cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def replace_process(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run ``code`` in the place of the second process."""
    monkeypatch.setattr(matcher_process, "child_command", lambda module: [sys.executable, "-c", code])


def wait_for(condition: Callable[[], T]) -> T:
    """What ``condition`` returns, once that is true."""
    end = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return value


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def export(folder: Path) -> Bundle:
    """The same network each time, by two processes."""
    network, process = decisive(build(PLAIN)), MatcherProcess()
    pictures = sorted(PICTURES.glob("*.jpg"))[:2]
    return export_bundle(network, folder, pictures, heatmaps=True, conv4d="stack", process=process)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, list[str]]:
    """A bundle whose second process failed, and what was said about that."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        replace_process(patch, FAILS)
        patch.setattr(builder, "note", said.append)
        return export(tmp_path_factory.mktemp("alone") / "b"), said


def test_the_work_of_a_process_that_fails_is_done_without(by_one: tuple[Bundle, list[str]]) -> None:
    bundle, (said,) = by_one
    assert "failed (MemoryError: no room for it)" in said
    assert bundle.manifest.verified


def test_two_processes_write_what_one_writes(
    by_one: tuple[Bundle, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(builder, "_write_matchers")  # which writes the matcher in this process
    assert contents(export(tmp_path / "b").path) == contents(by_one[0].path)


def test_an_error_of_both_processes_is_one_sentence(
    checkpoint: Path, tmp_path: Path, dcc_here: Cli, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    replace_process(monkeypatch, FAILS)
    monkeypatch.setattr(builder, "write_onnx", on_a_full_disk)
    result = dcc_here("export", checkpoint, "-o", tmp_path / "b")
    one_sentence(result, 1, f"cannot write {tmp_path / 'b'}: No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_killed_process_says_by_what() -> None:
    process = MatcherProcess()
    process._process.send_signal(signal.SIGKILL)
    assert process.wait() == "killed by signal 9"
    process.close()


def test_an_interrupted_export_ends_the_process_before_its_folder_goes(
    small_model: DCCNet, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    replace_process(monkeypatch, SLEEPS)
    process = MatcherProcess()
    with pytest.raises(KeyboardInterrupt):
        export_bundle(small_model, tmp_path / "b", pictures, process=process, on_step=interrupt)
    assert process._process.poll() is not None
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_the_command(
    number: signal.Signals, checkpoint: Path, tmp_path: Path
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("starts no second process on one core")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "dccnet", "export", str(checkpoint), "-o", str(tmp_path / "b")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as first:
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
        second = wait_for(lambda: children.read_text().split())[0]
        first.send_signal(number)
        assert first.wait(timeout=60) == (143 if number == signal.SIGTERM else -number)
    wait_for(lambda: not Path(f"/proc/{second}").exists())
    assert not list(tmp_path.iterdir())


def test_one_core_has_one_process(
    checkpoint: Path, tmp_path: Path, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_process(monkeypatch, SLEEPS)
    started = second_process(checkpoint)
    assert started is not None
    started.close()
    assert second_process(tmp_path / "missing.safetensors") is None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert second_process(checkpoint) is None
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(matcher_process, "usable_cores", lambda: 1)
    assert second_process(checkpoint) is None
