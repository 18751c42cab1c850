"""Pictures of a run that cannot be read: told before it starts, left out on request, or saved before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dccnet.network.config import ModelConfig
from dccnet.runtime.errors import DataError, ImageError
from dccnet.runtime.messages import show_messages
from dccnet.training.datasets import datasets
from dccnet.training.run import check_run, resume_run, start_run
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.trainer import Trainer
from tests.helpers.networks import ONE_BRANCH, SMALL

CONFIG: ModelConfig = SMALL.replace(branches=("local",), **ONE_BRANCH)
HEADER = "source_image,target_image,class,flip\n"
GOOD = "a.jpg,b.jpg,1,0\nb.jpg,c.jpg,2,0\n"
BAD = "a.jpg,missing.jpg,1,0\ncut.jpg,b.jpg,1,0\nempty.png,c.jpg,1,1\ntext.png,a.jpg,1,0\n"
OPTIONS = {
    "epochs": 2,
    "batch_size": 2,
    "weights": "random",
    "device": "cpu",
    "cache_gb": 0,
    "conv4d": "stack",
}


@pytest.fixture
def data(tmp_path: Path, pictures: list[Path]) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, picture in zip("abc", pictures, strict=True):
        shutil.copy(picture, folder / f"{name}.jpg")
    (folder / "cut.jpg").write_bytes(pictures[0].read_bytes()[:-3000])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "good.csv").write_text(HEADER + GOOD)
    (folder / "all.csv").write_text(HEADER + BAD + GOOD)
    return folder


def test_pictures_that_cannot_be_read_are_told_before_a_run_starts(data: Path, tmp_path: Path) -> None:
    told = (
        r"4 of 7 pictures cannot be used \(.*missing.jpg does not exist; .*cut.jpg is truncated.*; "
        r".*empty.png is empty.*; and 1 more\): restore them, or leave their pairs out with --skip"
    )
    with pytest.raises(DataError, match=told):
        start_run(str(tmp_path / "run"), CONFIG, OPTIONS | {"data": str(data / "all.csv")})
    assert not (tmp_path / "run").exists()


def test_pairs_that_are_left_out_change_nothing_else_and_stay_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_messages()
    options = OPTIONS | {"skip_unreadable": True, "validate": None}
    expected, _ = start_run(str(tmp_path / "good"), CONFIG, options | {"data": str(data / "good.csv")})
    capsys.readouterr()
    run = tmp_path / "run"
    folder, _ = start_run(str(run), CONFIG, options | {"data": str(data / "all.csv"), "epochs": 1})
    told = "warning: 4 pictures that cannot be used left out, with 4 training and 0 validation pairs ("
    assert told in capsys.readouterr().err
    assert folder.read_config().left_out == ("cut.jpg", "empty.png", "missing.jpg", "text.png")
    shutil.copy(data / "a.jpg", data / "missing.jpg")  # later; the run keeps its batches
    data.rename(tmp_path / "moved")
    resume_run(str(run), 2, moved={"data": str(tmp_path / "moved" / "all.csv")})
    assert folder.last.read_bytes() == expected.last.read_bytes()


def test_a_run_that_is_only_checked_warns_of_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_messages()
    check_run(
        str(tmp_path / "run"), CONFIG, OPTIONS | {"skip_unreadable": True, "data": str(data / "all.csv")}
    )
    assert "left out" not in capsys.readouterr().err


def test_photographs_are_left_out_before_they_are_split(data: Path) -> None:
    settings = TrainSettings(synthetic=str(data), pairs=4, skip_unreadable=True)
    training, validation, left_out = datasets(CONFIG, settings)
    assert left_out == ("cut.jpg", "empty.png", "text.png")
    assert {pair.source.file for pair in training + validation} == {data / f"{name}.jpg" for name in "abc"}
    with pytest.raises(DataError, match="3 of 6 pictures cannot be used"):
        datasets(CONFIG, TrainSettings(synthetic=str(data)))


def test_a_resumed_run_says_which_pictures_are_gone(data: Path, tmp_path: Path) -> None:
    start_run(str(tmp_path / "run"), CONFIG, OPTIONS | {"data": str(data / "good.csv")})
    (data / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 pictures cannot be used \(.*b.jpg does not exist\)"):
        resume_run(str(tmp_path / "run"), 3)


def test_a_list_without_any_readable_pair_is_no_validation(data: Path) -> None:
    points = "source_image,target_image,class,XA,YA,XB,YB\nmissing.jpg,a.jpg,1,1,1,1,1\n"
    (data / "validate.csv").write_text(points)
    lists = {"data": str(data / "good.csv"), "validate": str(data / "validate.csv")}
    with pytest.raises(DataError, match=r"no pair of .*validate.csv has two pictures that can be read"):
        datasets(CONFIG, TrainSettings(**lists, skip_unreadable=True))


def test_a_picture_that_goes_during_an_epoch_leaves_a_run_that_continues_exactly(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = OPTIONS | {"data": str(data / "good.csv")}
    undisturbed, progress = start_run(str(tmp_path / "undisturbed"), CONFIG, options)
    step, gone = Trainer._step, data / "gone.jpg"

    def lose_a_picture(self: Trainer, *arguments: object) -> dict[str, float]:
        if self.progress.total_steps == 1:
            (data / "b.jpg").rename(gone)
        return step(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", lose_a_picture)
        patch.setattr(Trainer, "_prefetch", lambda *_: None)  # which would have read it before
        with pytest.raises(ImageError, match=r"b.jpg does not exist; the run is saved"):
            start_run(str(tmp_path / "run"), CONFIG, options)
    gone.rename(data / "b.jpg")
    folder, resumed = resume_run(str(tmp_path / "run"), None)
    assert resumed == progress
    assert folder.last.read_bytes() == undisturbed.last.read_bytes()
    assert RunFolder(tmp_path / "run").read_config().left_out == ()
