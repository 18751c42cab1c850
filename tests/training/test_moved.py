"""Runs whose lists and pictures have moved, and what ``dcc train`` says at its end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dccnet.network.config import ModelConfig
from dccnet.runtime.errors import UsageError
from dccnet.training.commands import _report
from dccnet.training.run import resume_run, start_run
from dccnet.training.settings import RunFolder
from dccnet.training.state import Progress
from tests.helpers.networks import ONE_BRANCH, SMALL

CONFIG: ModelConfig = SMALL.replace(branches=("local",), **ONE_BRANCH)
LIST = "source_image,target_image,class,flip\na.jpg,b.jpg,1,0\nb.jpg,a.jpg,2,0\n"
OPTIONS = {"epochs": 1, "batch_size": 2, "weights": "random", "device": "cpu"}


@pytest.fixture
def data(tmp_path: Path, pictures: list[Path]) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, picture in zip("ab", pictures, strict=False):
        shutil.copy(picture, folder / f"{name}.jpg")
    (folder / "pairs.csv").write_text(LIST)
    return folder


def test_a_run_is_resumed_from_any_folder_and_where_its_data_moved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    start_run("../run", CONFIG, OPTIONS | {"data": "pairs.csv"})
    stored = RunFolder(tmp_path / "run").read_config()
    assert stored.training.data == str(data / "pairs.csv") and set(stored.lists) == {"data"}
    monkeypatch.chdir(tmp_path)
    assert resume_run("run", 2)[1].epoch == 2
    data.rename(tmp_path / "moved")
    moved = {"data": "moved/pairs.csv"}
    assert resume_run("run", 3, moved=moved)[1].epoch == 3
    assert resume_run("run", 4)[1].epoch == 4  # the new place is kept
    (tmp_path / "moved" / "pairs.csv").write_text(LIST + "a.jpg,b.jpg,3,0\n")
    with pytest.raises(UsageError, match=r"is not the list that the run was started with \(--data\)"):
        resume_run("run", 5, moved=moved)


@pytest.mark.parametrize(
    ("progress", "warns"),
    [
        (Progress(epoch=2, best_pck=50.0, stale_epochs=2, validated_epochs=2), True),
        (Progress(epoch=2, best_pck=50.0, stale_epochs=1, validated_epochs=2), False),
        (Progress(epoch=2, validated_epochs=2), False),  # without validation, best is the last
    ],
)
def test_an_untrained_best_is_not_offered_without_a_word(
    progress: Progress, warns: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _report(RunFolder(Path("run")), progress, as_json=False)
    printed = capsys.readouterr()
    assert (
        "which run/best.safetensors is: run/last.safetensors is the trained one" in printed.err
    ) == warns
    assert printed.out == "run/best.safetensors\n"
    assert f"next: dcc export run/{'last' if warns else 'best'}.safetensors" in printed.err
