"""What a run tells while it trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from dccnet.runtime.messages import show_messages
from dccnet.training import reporting
from dccnet.training.experiments.logs import ExperimentLogs
from dccnet.training.reporting import RunReport
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.state import Progress
from tests.helpers.networks import PLAIN

VALUES = {"loss": -0.0012345, "positive": 0.45678, "negative": 12.3, "images_per_s": 7.6, "waited_s": 0.0}


def test_the_loss_is_told_every_minute_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_messages()
    now = [1000.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    progress = Progress(epoch=1)
    settings = TrainSettings(data="pairs.csv", epochs=5)
    folder = RunFolder(tmp_path)
    folder.write_config(PLAIN, settings)
    with RunReport(folder, settings, progress, ExperimentLogs()) as report:
        for step in range(1, 101):  # of 2 seconds
            now[0] += 2
            progress.step, progress.total_steps = step, 100 + step
            report.on_step(progress, 100, VALUES)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"epoch 2/5, step {step}/100: loss -0.00123  positive 0.457  negative 12.3  7.6 images/s"
        for step in (30, 60, 90)
    ]
    assert len((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()) == 100
