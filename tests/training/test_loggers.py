"""Runs as Weights & Biases, offline, and MLflow, in a database, keep them: make test-loggers."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dccnet.training.run import resume_run
from dccnet.training.settings import RunFolder
from dccnet.training.trainer import Trainer
from tests.helpers.commands import Cli
from tests.helpers.small_run import small_run

pytestmark = pytest.mark.loggers
BLOCK = 32768
"""Bytes of a block in a file of wandb, which is a log of LevelDB."""


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)


def written(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.log.read_text(encoding="utf-8").splitlines()]


def wandb_records(path: Path) -> Iterator[Any]:
    """The messages of a file, decoded by wandb's own classes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, message = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:  # too short for a header: padding
            place += BLOCK - place % BLOCK
            continue
        length, part = struct.unpack_from("<HB", content, place + 4)
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""


def nested(items: Any) -> dict[str, Any]:
    return {"/".join([*item.nested_key] or [item.key]): json.loads(item.value_json) for item in items}


def interrupted_and_resumed(folder: Path, monkeypatch: pytest.MonkeyPatch, log: str) -> RunFolder:
    """A run that Ctrl-C stops in its third step, and that is then trained to a third epoch."""
    step = Trainer._step

    def stop_once(self: Trainer, *arguments: Any) -> dict[str, float]:
        if self.progress.total_steps == 2:
            self.interrupt.pressed = True
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stop_once)
        with pytest.raises(KeyboardInterrupt):
            small_run(folder, log=(log,))
    run, _ = resume_run(str(folder), 3)
    return run


def test_wandb_has_the_whole_run_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = interrupted_and_resumed(tmp_path / "run", monkeypatch, "wandb")
    files = sorted(folder.path.glob("wandb/offline-run-*/*.wandb"))
    identity = json.loads(folder.logs.read_text(encoding="utf-8"))["wandb"]
    assert len(files) == 2 and {file.stem for file in files} == {f"run-{identity['id']}"}
    records = [record for file in files for record in wandb_records(file)]
    rows = [
        nested(record.history.item) for record in records if record.WhichOneof("record_type") == "history"
    ]
    log = written(folder)
    assert [(r["step"], r["train/loss"]) for r in rows if "train/loss" in r] == [
        (r["step"], r["loss"]) for r in log if "step" in r
    ]
    assert [r["validation/pck"] for r in rows if "validation/pck" in r] == [
        r["pck"] for r in log if "pck" in r
    ]
    configuration = {k: v for record in records for k, v in nested(record.config.update).items()}
    saved = json.loads(folder.config.read_text(encoding="utf-8"))
    assert {name: configuration[name] for name in saved} == saved
    summary = {k: v for record in records for k, v in nested(record.summary.update).items()}
    best = {name: value for name, value in summary.items() if name.startswith("best/")}
    assert best["best/checkpoint"] == str(folder.best)
    assert best["best/pck"] == max(r["pck"] for r in log if "pck" in r and r["epoch"])
    assert [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"] == [
        1,
        0,
    ]
    kinds = {record.WhichOneof("record_type") for record in records}
    assert not kinds & {"environment", "files", "output", "output_raw", "stats"}, "more than the run itself"
    assert not any(record.run.host or record.run.HasField("git") for record in records)
    assert not [path for path in folder.path.glob("wandb/offline-run-*/files/**/*") if path.is_file()]


def test_mlflow_has_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    folder = interrupted_and_resumed(tmp_path / "run", monkeypatch, "mlflow")
    identity = json.loads(folder.logs.read_text(encoding="utf-8"))["mlflow"]
    assert identity["tracking_uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(identity["tracking_uri"])
    (run,) = client.search_runs([client.get_experiment_by_name("dccnet").experiment_id])
    assert run.info.run_id == identity["run_id"] and run.info.status == "FINISHED"
    log = written(folder)
    found = client.get_metric_history(identity["run_id"], "train/loss")
    assert [(m.step, m.value) for m in sorted(found, key=lambda m: m.step)] == [
        (r["step"], r["loss"]) for r in log if "step" in r
    ]
    found = client.get_metric_history(identity["run_id"], "validation/pck")
    assert sorted(m.value for m in found) == sorted(r["pck"] for r in log if "pck" in r)
    saved = json.loads(folder.config.read_text(encoding="utf-8"))
    assert run.data.params["model.backbone"] == saved["model"]["backbone"]
    assert run.data.params["training.epochs"] == "2" and run.data.tags["training.epochs"] == "3"
    assert len(run.data.params) == len(saved["model"]) + len(saved["training"]) + len(saved["lists"]) + 1
    assert run.data.tags["best.checkpoint"] == str(folder.best)
    assert not {"mlflow.user", "mlflow.source.name"} & run.data.tags.keys()


def test_a_database_that_breaks_in_the_middle_costs_only_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import mlflow

    write = mlflow.MlflowClient.log_batch
    batches: list[Any] = []

    def break_third(self: Any, *arguments: Any, **named: Any) -> Any:
        """After the settings and one batch of numbers; the real sentence of a damaged sqlite database."""
        batches.append(named)
        if len(batches) > 2:
            raise mlflow.MlflowException("(sqlite3.DatabaseError) database disk image is malformed")
        return write(self, *arguments, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", break_third)
    with caplog.at_level("WARNING", "dccnet"):
        assert small_run(tmp_path / "run", log=("mlflow", "tensorboard"))[1].epoch == 2
    (told,) = [record.getMessage() for record in caplog.records if "MLflow" in record.getMessage()]
    assert "misses the rest of this run" in told and "\n" not in told
    assert "malformed" in told and len(batches) == 3
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_stdout_has_the_result_alone_and_the_library_is_named_where_it_cannot_log_in(
    dcc: Cli, tmp_path: Path, pictures: list[Path]
) -> None:
    sizes = ["--set", "backbone=resnet18", "--set", "image_size=[64,64]"]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(
        f"source_image,target_image,class,flip\n{pictures[0]},{pictures[1]},1,0\n{pictures[1]},{pictures[2]},1,0\n"
    )
    short = ["--weights", "random", "--data", pairs, "--batch-size", "2", "--conv4d", "stack"]
    command = ["train", "--preset", "ncnet", *sizes, *short, "--epochs", "1", "--log", "wandb"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = dcc(*command, "-o", "run", "--json", env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epoch"] == 1 and "wandb sync" in done.stderr
    environment |= {"WANDB_MODE": "online", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}
    refused = dcc(*command, "-o", "other", env=environment, cwd=tmp_path)
    assert refused.returncode == 1 and not (tmp_path / "other" / "config.json").exists()
    assert "Weights & Biases cannot log this run (No API key configured" in " ".join(refused.stderr.split())
    assert "WANDB_MODE=offline" in " ".join(refused.stderr.split())
