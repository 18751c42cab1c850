"""One process at a time in a folder, also where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dccnet.runtime.errors import DccError
from dccnet.runtime.locks import LOCK_FILE, folder_lock

_HOLD = """
import sys, time
from pathlib import Path
from dccnet.runtime.locks import folder_lock
with folder_lock(Path(sys.argv[1]), "busy", "wait", print):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def _lock(folder: Path, warnings: list[str]) -> None:
    with folder_lock(folder, f"another process writes to {folder}", "wait for it", warnings.append):
        assert (folder / LOCK_FILE).exists() or warnings


def test_a_second_process_is_refused_and_told_who_holds_the_lock(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(DccError) as caught:
        _lock(tmp_path, [])
    host = re.escape(socket.gethostname())
    pattern = (
        rf"another process writes to .* \(process {holder.pid} on {host}, since 20\d\d-.*\): wait for it"
    )
    assert re.fullmatch(pattern, str(caught.value))
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    _lock(tmp_path, [])  # a lock does not outlive its process
    assert not (tmp_path / LOCK_FILE).exists()


def test_the_same_process_cannot_lock_twice(tmp_path: Path) -> None:
    with folder_lock(tmp_path, "busy", "wait", print), pytest.raises(DccError, match="another process"):
        _lock(tmp_path, [])
    _lock(tmp_path, [])


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_there_are_no_locks_work_goes_on_with_a_warning(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    warnings: list[str] = []
    _lock(tmp_path / "run", warnings)
    assert len(warnings) == 1 and "has no locks: do not let a second process" in warnings[0]


def test_another_failure_is_not_taken_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(DccError, match=r"cannot write .*: Input/output error"):
        _lock(tmp_path, [])


def test_a_folder_that_stays_empty_is_removed(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "new", "busy", "wait", print):
        pass
    assert not (tmp_path / "new").exists()
    with folder_lock(tmp_path / "new", "busy", "wait", print):
        (tmp_path / "new" / "file").touch()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file"]
