"""What is replaced keeps its place and permissions, and an interruption leaves the old or the new."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dccnet.runtime import scratch
from dccnet.runtime.errors import DccError
from dccnet.runtime.files import atomic_path, write_text


def _write_folder(path: Path, content: str) -> None:
    with atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "file").write_text(content)


def test_permissions_are_kept(tmp_path: Path) -> None:
    file, folder = tmp_path / "secret.json", tmp_path / "bundle"
    write_text(file, "one")
    _write_folder(folder, "one")
    usual = file.stat().st_mode
    file.chmod(0o600)
    folder.chmod(0o700)
    write_text(file, "two")
    _write_folder(folder, "two")
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert (file.read_text(), (folder / "file").read_text()) == ("two", "two")
    write_text(tmp_path / "other.json", "one")
    assert (tmp_path / "other.json").stat().st_mode == usual


def test_symbolic_links_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("file", "folder", "missing"):
        (tmp_path / name).symlink_to(tmp_path / "there" / name)
    (tmp_path / "there" / "file").write_text("one")
    _write_folder(tmp_path / "there" / "folder", "one")
    for name in ("file", "missing"):
        write_text(tmp_path / name, "two")
        assert (tmp_path / "there" / name).read_text() == "two" and (tmp_path / name).is_symlink()
    _write_folder(tmp_path / "folder", "two")
    assert (tmp_path / "there" / "folder" / "file").read_text() == "two"
    assert (tmp_path / "folder").is_symlink()


def test_a_link_to_itself_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DccError, match="cannot write"):
        write_text(tmp_path / "loop", "text")
    assert (tmp_path / "loop").is_symlink()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_text(pipe, "through the pipe")
    reader.join(10)
    assert read == ["through the pipe"] and pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.json"]


def test_a_device_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "nothing.json").symlink_to("/dev/null")
    write_text(tmp_path / "nothing.json", "text")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_an_interrupted_replacement_leaves_the_old_or_the_new(
    exchange: bool,
    failing: int,
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``failing`` is the number of the rename after which a signal arrives."""
    path, replace, calls = tmp_path / "bundle", Path.replace, [0]
    _write_folder(path, "old")
    if not exchange:
        monkeypatch.setattr(scratch, "_exchange", lambda a, b: False)

    def interrupted(source: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == failing + 1 and failing < 2:
            if failing == 1:
                raise error("between the two")
            replace(source, target)
            raise error("after the first")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    if exchange or failing == 2:
        _write_folder(path, "new")
    else:
        with pytest.raises((error, DccError)):
            _write_folder(path, "new")
    monkeypatch.undo()
    assert (path / "file").read_text() == ("new" if exchange or failing == 2 else "old")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from dccnet.runtime import scratch
from dccnet.runtime.files import atomic_path
path = Path(sys.argv[1])
if sys.argv[2] == "between":
    scratch._exchange = lambda a, b: False
    replace = Path.replace
    Path.replace = lambda a, b: (replace(a, b), os.kill(os.getpid(), signal.SIGKILL))
with atomic_path(path) as temporary:
    temporary.mkdir()
    (temporary / "file").write_text("new")
    if sys.argv[2] == "while writing":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["while writing", "between"])
def test_what_a_killed_process_left_is_cleared_and_restored(when: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    _write_folder(path, "old")
    done = subprocess.run([sys.executable, "-c", _KILLED, str(path), when], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".dcc-*"))) == 1 and path.exists() == (when == "while writing")
    scratch.clear_scratch(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]
    assert (path / "file").read_text() == "old"


def test_only_scratch_without_a_living_owner_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".dcc-mine0000").mkdir()
    (tmp_path / ".dcc-mine0000" / "file").touch()  # of another program: it names no owner
    os.utime(tmp_path / ".dcc-mine0000" / "file", (0, 0))
    os.utime(tmp_path / ".dcc-mine0000", (0, 0))
    (tmp_path / ".dcc-settings").mkdir()
    (tmp_path / ".dcc-settings" / "file").touch()
    (tmp_path / ".dcc-empty000").mkdir()  # its owner was killed before it wrote a name
    with atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("one")
        scratch.clear_scratch(tmp_path)
        assert temporary.read_text() == "one"
    assert {entry.name for entry in tmp_path.iterdir()} == {".dcc-mine0000", ".dcc-settings", "file.txt"}


def test_what_an_interrupted_removal_left_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner's file goes last: with it gone first, nobody would dare to touch the rest."""

    def interrupted(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt), scratch.scratch_folder(tmp_path) as folder:
            for name in "abcdef":
                (folder / name).mkdir()
    (left,) = tmp_path.iterdir()
    assert (left / ".dcc-owner").exists()
    scratch.clear_scratch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_another_process_clears_too_early_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True])  # the other process holds the lock of the first folder
    monkeypatch.setattr(scratch, "try_lock", lambda file: next(answers))
    with scratch.scratch_folder(tmp_path) as folder:
        assert (folder / ".dcc-owner").exists()
        assert len(list(tmp_path.iterdir())) == 2
    assert next(answers, None) is None


def test_scratch_of_other_users_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dcc-theirs00").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    scratch.clear_scratch(tmp_path)
    assert (tmp_path / ".dcc-theirs00").exists()


def test_files_may_have_any_name(tmp_path: Path) -> None:
    for name in ("replaced", "old", ".lock", "x" * 255):
        for content in ("one", "two"):
            _write_folder(tmp_path / name, content)
            assert (tmp_path / name / "file").read_text() == content
