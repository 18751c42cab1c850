"""``dcc train --from``: a whole network is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from dccnet.cli import dcc
from dccnet.network.config import PRESETS
from dccnet.runtime.errors import CheckpointError, DccError, UsageError
from dccnet.training.run import check_run, resume_run, start_run
from dccnet.weights.checkpoint import load_checkpoint, save_checkpoint
from tests.helpers.networks import build

CONFIG = PRESETS["tiny"].replace(image_size=(64, 64), context_kernel=3, context_channels=16)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("from") / "given.safetensors"
    save_checkpoint(build(CONFIG, 5), path)
    return path


@pytest.fixture(scope="module")
def data(pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("list") / "pairs.csv"
    a, b = pictures[:2]
    path.write_text(f"source_image,target_image,class,flip\n{a},{b},1,0\n{b},{a},2,0\n")
    return path


def test_a_run_starts_from_the_whole_network_and_resumes(
    given: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(given.parent)
    options = {"data": str(data), "batch_size": 2, "epochs": 1, "seed": 3, "start": "plain"}
    run = tmp_path / "run"
    folder, progress = start_run(str(run), CONFIG, options | {"from_checkpoint": given.name})
    before, start, last = (load_checkpoint(path) for path in (given, folder.start, folder.last))
    assert progress.epoch == 1 and start.config == last.config == CONFIG
    weights = before.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in start.state_dict().items())
    assert not all(torch.equal(weights[name], value) for name, value in last.state_dict().items())
    assert folder.read_config().training.from_checkpoint == str(given)
    given_content = given.read_bytes()
    assert resume_run(str(run), 2)[1].epoch == 2
    assert given.read_bytes() == given_content


def test_a_network_of_other_sizes_or_none_is_refused(given: Path, data: Path, tmp_path: Path) -> None:
    options = {"data": str(data), "batch_size": 2, "from_checkpoint": str(given)}
    with pytest.raises(UsageError, match="is another network than the one to train"):
        check_run(str(tmp_path / "run"), CONFIG.replace(context_channels=8), options)
    with pytest.raises(CheckpointError, match="does not exist"):
        check_run(str(tmp_path / "run"), CONFIG, options | {"from_checkpoint": "absent.safetensors"})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--set", "image_size=[96,96]"], "remove --set, --start and --weights"),
        (["--start", "plain"], "remove --set, --start and --weights"),
        (["--weights", "random"], "remove --set, --start and --weights"),
        (["--from", "absent.safetensors"], "absent.safetensors does not exist"),
    ],
)
def test_the_command_refuses_what_the_file_decides(
    more: list[str], says: str, given: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--from", str(given), "--data", str(data), "-o", str(tmp_path / "run"), *more]
    error = CliRunner().invoke(dcc, arguments).exception
    assert isinstance(error, DccError) and says in str(error), error
    assert not (tmp_path / "run").exists()


def test_the_command_trains_on_a_network_of_its_own_sizes(given: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["--from", str(given), "--data", str(data), "--epochs", "1", "--batch-size", "2"]
    done = CliRunner().invoke(dcc, ["train", *arguments, "-o", str(run)], standalone_mode=False)
    assert done.exception is None, done.exception
    assert load_checkpoint(run / "best.safetensors").config == CONFIG
