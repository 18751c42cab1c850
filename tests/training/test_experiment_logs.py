"""What logs of experiments are told, with stand-ins; with the libraries themselves: make test-loggers."""

from __future__ import annotations

import json
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dccnet.runtime.errors import DccError, UsageError
from dccnet.training import run
from dccnet.training.commands import train
from dccnet.training.experiments import background, logs, mlflow
from dccnet.training.experiments.background import BackgroundLog
from dccnet.training.experiments.logs import experiment_logs
from dccnet.training.experiments.tensorboard import TensorBoardLog
from dccnet.training.experiments.wandb import WandbLog
from dccnet.training.processes import Processes
from dccnet.training.run import resume_run
from dccnet.training.settings import RunFolder, TrainSettings
from tests.helpers.small_run import small_run


class Recorded:
    """A log that keeps its calls, and fails in those named."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.identity = {"run": "r1"}
        self._fails = fails

    def _call(self, name: str, *values: Any) -> None:
        self.calls.append((name, *values))
        if name == self._fails:
            raise OSError("No space left on device.\nTraceback")

    def begin(self, *values: Any) -> None:
        self._call("begin", *values)

    def scalars(self, *values: Any) -> None:
        self._call("scalars", *values)

    def best(self, *values: Any) -> None:
        self._call("best", *values)

    def close(self, *values: Any) -> None:
        self._call("close", *values)

    def named(self, name: str) -> list[Any]:
        return [values for found, *values in self.calls if found == name]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorded]:
    """In place of the real logs: those of the last run, by name; each has what it was opened with."""
    found: dict[str, Recorded] = {}

    def open_(name: str, folder: RunFolder, identity: object) -> Recorded:
        found[name] = Recorded()
        found[name].calls.append(("open", folder.path.name, identity))
        return found[name]

    monkeypatch.setattr(logs, "_open", open_)
    monkeypatch.setattr(logs, "_LIBRARIES", dict.fromkeys(logs.TITLES, lambda: None))
    return found


def records(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.log.read_text(encoding="utf-8").splitlines()]


def test_every_log_is_told_of_configuration_steps_validations_and_the_best(
    tmp_path: Path, opened: dict[str, Recorded]
) -> None:
    folder, progress = small_run(tmp_path / "run", log=("wandb", "mlflow", "wandb"))
    assert list(opened) == ["wandb", "mlflow"] and opened["wandb"].calls == opened["mlflow"].calls
    log = opened["wandb"]
    assert [name for name, *_ in log.calls][:2] == ["open", "begin"]
    assert log.named("open") == [["run", None]] and log.named("close") == [["finished"]]
    assert log.named("begin") == [[json.loads(folder.config.read_text(encoding="utf-8")), 0]]
    steps = [values for values, _ in log.named("scalars") if "train/loss" in values]
    validations = [values for values, _ in log.named("scalars") if "validation/pck" in values]
    written = records(folder)
    assert [s["train/loss"] for s in steps] == [r["loss"] for r in written if "step" in r]
    assert [v["validation/pck"] for v in validations] == [r["pck"] for r in written if "pck" in r]
    assert [step for values, step in log.named("scalars")] == [0, 1, 2, 2, 3, 4, 4]
    assert log.named("best")[-1] == [
        folder.best.absolute(), progress.epoch - progress.stale_epochs, progress.best_pck
    ]  # fmt: skip
    assert not folder.tensorboard.exists(), "TensorBoard was not asked for"

    resume_run(str(folder.path), 3)
    assert opened["mlflow"].named("open") == [["run", {"run": "r1"}]], "another run than before"
    parameters, step = opened["mlflow"].named("begin")[0]
    assert parameters["training"]["epochs"] == 3 and step == 4
    resume_run(str(folder.path), 3, log=("tensorboard",))
    assert json.loads(folder.config.read_text(encoding="utf-8"))["training"]["log"] == ["tensorboard"]
    assert json.loads(folder.logs.read_text(encoding="utf-8"))["wandb"] == {"run": "r1"}


def test_a_log_that_fails_is_left_out_with_one_sentence(
    tmp_path: Path, opened: dict[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    good, full = Recorded(), Recorded(fails="scalars")
    monkeypatch.setattr(logs, "warn", told.append)
    monkeypatch.setattr(logs, "_open", lambda name, *_: full if name == "mlflow" else good)
    _, progress = small_run(tmp_path / "run", log=("mlflow", "wandb"))
    assert progress.epoch == 2
    assert len(full.named("scalars")) == 1 and not full.named("close")
    assert len(good.named("scalars")) == 7 and good.named("close") == [["finished"]]
    assert told == [
        "MLflow misses the rest of this run (No space left on device); the training itself is not affected"
    ]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "stopped"), (DccError, "failed")])
def test_logs_tell_how_a_run_ended(
    tmp_path: Path, opened: dict[str, Recorded], error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), experiment_logs(RunFolder(tmp_path), ("wandb",), resume=False):
        raise error
    assert opened["wandb"].named("close") == [[status]]


def test_a_log_that_cannot_be_opened_stops_a_new_run_before_it_exists_and_no_resumed_one(
    tmp_path: Path, opened: dict[str, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def fail(*_: object) -> None:
        raise RuntimeError("No API key configured.")

    small_run(tmp_path / "run", epochs=1, log=("wandb",))
    monkeypatch.setattr(logs, "_open", fail)
    with pytest.raises(DccError, match=r"cannot log this run \(No API key configured\): .*WANDB_MODE"):
        small_run(tmp_path / "other", log=("wandb",))
    assert not RunFolder(tmp_path / "other").can_resume
    monkeypatch.setattr(logs, "warn", told.append)
    assert resume_run(str(tmp_path / "run"), 2)[1].epoch == 2
    assert len(told) == 1 and "(No API key configured), which goes on without it: log in with" in told[0]


@pytest.mark.parametrize("content", ["{", "[1]", '{"wandb": 1}'])
def test_a_damaged_file_of_identities_begins_new_logs(
    tmp_path: Path, opened: dict[str, Recorded], content: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.logs.write_text(content)
    with experiment_logs(folder, ("wandb",), resume=True):
        assert opened["wandb"].named("open") == [[tmp_path.name, None]]
    assert json.loads(folder.logs.read_text(encoding="utf-8")) == {"wandb": {"run": "r1"}}


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("tensorboard", "torch.utils.tensorboard.writer", "train"),
        ("wandb", "wandb", "wandb"),
        ("mlflow", "mlflow", "mlflow"),
    ],
)
def test_a_missing_library_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for variable in ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(variable, "")  # restored
    with pytest.raises(DccError, match=rf"--log {name} needs .*: pip install .*\[{extra}\]"):
        small_run(tmp_path / "run", log=(name,), synthetic="nowhere")
    assert not (tmp_path / "run").exists()


def test_only_the_first_of_several_processes_logs(tmp_path: Path, opened: dict[str, Recorded]) -> None:
    settings = TrainSettings(data="pairs.csv", log=("wandb",))
    for rank in (1, 0):
        with run._logs(RunFolder(tmp_path), settings, Processes(rank, 2), resume=False) as found:
            assert bool(opened) == bool(found.identities()) == (rank == 0)


def test_an_unknown_log_is_refused() -> None:
    with pytest.raises(UsageError, match="no log visdom: choose from tensorboard, wandb, mlflow"):
        TrainSettings(data="pairs.csv", log=("visdom",))


def test_the_option_names_the_logs_also_of_a_resumed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def start(path: str, config: object, options: dict[str, Any]) -> None:
        asked.append(options["log"])
        raise DccError("enough")

    def resume(*arguments: object) -> None:
        asked.append(arguments[4])
        raise DccError("enough")

    monkeypatch.setattr(run, "start_run", start)
    monkeypatch.setattr(run, "resume_run", resume)
    for more in ([], ["--log", "wandb", "--log", "mlflow"]):
        for which in (["--preset", "tiny", "--data", "p.csv", "-o", "new"], ["--resume", "old"]):
            CliRunner().invoke(train, [*which, *more])
    assert asked == [("tensorboard",), None, ("wandb", "mlflow"), ("wandb", "mlflow")]


# Background ------------------------------------------------------------------------------------


def test_a_slow_log_is_told_everything_in_order_and_holds_nothing_up() -> None:
    answered, log = threading.Event(), Recorded()
    log.begin = lambda *values: (answered.wait(10), log.calls.append(("begin", *values)))  # type: ignore[method-assign]
    slow = BackgroundLog(log)
    slow.begin({"a": 1}, 0)
    for step in range(100):
        slow.scalars({"loss": 1.0}, step)
    slow.best(Path("best"), 1, 50.0)
    assert log.calls == []
    answered.set()
    slow.close("finished")
    names = ["begin", *["scalars"] * 100, "best", "close"]
    assert [name for name, *_ in log.calls] == names and slow.identity == log.identity


def test_what_a_slow_log_raises_comes_with_the_next_call() -> None:
    slow = BackgroundLog(Recorded(fails="scalars"))
    slow.scalars({"loss": 1.0}, 1)
    slow._thread.join(10)
    for call in (lambda: slow.scalars({"loss": 1.0}, 2), lambda: slow.close("finished")):
        with pytest.raises(OSError, match="No space left"):
            call()


def test_the_end_waits_for_a_log_that_does_not_answer_no_longer_than_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "WAIT_S", 0.05)
    never, log = threading.Event(), Recorded()
    log.close = lambda *_: never.wait(30)  # type: ignore[method-assign, assignment]
    with pytest.raises(TimeoutError):
        BackgroundLog(log).close("finished")
    never.set()


# The libraries ---------------------------------------------------------------------------------


def test_tensorboard_shows_steps_once_though_a_killed_run_repeats_them(tmp_path: Path) -> None:
    killed, resumed = TensorBoardLog(tmp_path), TensorBoardLog(tmp_path)
    killed.begin({"training": {"epochs": 3}}, 0)
    for step in range(1, 8):
        killed.scalars({"train/loss": float(step)}, step)
    killed.best(Path("best.safetensors"), 1, 61.5)
    killed._events.flush()
    resumed.begin({"training": {"epochs": 4}}, 4)
    for step in range(5, 10):
        resumed.scalars({"train/loss": 10.0 * step}, step)
    resumed.close("finished")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(1, 1), (2, 2), (3, 3), (4, 4), *((step, 10 * step) for step in range(5, 10))]
    texts = {
        tag: [text.tensor_proto.string_val[0].decode() for text in events.Tensors(f"{tag}/text_summary")]
        for tag in ("config", "best")
    }
    assert [json.loads(text)["training"]["epochs"] for text in texts["config"]] == [3, 4]
    assert json.loads(texts["best"][0]) == {"checkpoint": "best.safetensors", "epoch": 1, "pck": 61.5}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a stand-in for wandb was opened with."""
    found: list[dict[str, Any]] = []

    def init(**options: Any) -> types.SimpleNamespace:
        found.append(options)
        return types.SimpleNamespace(id="abc", project="mine", entity=None)

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init, Settings=dict))
    for name in ("PROJECT", "DIR", "NAME", "MODE", "CONSOLE"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "")
    return found


def test_wandb_gets_no_mode_and_sends_nothing_that_nobody_asked_for(
    tmp_path: Path, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WandbLog(tmp_path, "runs/a", None).identity == {"id": "abc", "project": "mine"}
    assert "mode" not in asked[0] and "mode" not in asked[0]["settings"]
    assert (asked[0]["project"], asked[0]["name"], asked[0]["dir"]) == ("dccnet", "runs/a", str(tmp_path))
    assert asked[0]["settings"]["console"] == "off" and asked[0]["settings"]["x_disable_machine_info"]

    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_CONSOLE", "auto")
    WandbLog(tmp_path, "runs/b", None)
    assert "project" not in asked[1] and "console" not in asked[1]["settings"], "the user's own settings"


def test_wandb_continues_a_run_where_it_was_under_the_name_that_it_now_has(
    tmp_path: Path, asked: list[dict[str, Any]]
) -> None:
    WandbLog(tmp_path, "runs/a", {"id": "abc", "project": "mine", "entity": "us"})
    found = {name: asked[0].get(name) for name in ("id", "project", "entity", "resume", "name")}
    assert found == {"id": "abc", "project": "mine", "entity": "us", "resume": "allow", "name": None}


def test_parameters_for_mlflow_are_flat_and_short() -> None:
    flat = dict(
        mlflow._flat({"model": {"sizes": [1, 2]}, "training": {"data": "a.csv", "long": "x" * 9000}})
    )
    assert flat.keys() == {"model.sizes", "training.data", "training.long"}
    assert flat["model.sizes"] == "[1, 2]" and flat["training.data"] == "a.csv"
    assert len(flat["training.long"]) == 6000
    assert [len(part) for part in mlflow._parts(range(205))] == [100, 100, 5]


def test_a_database_beside_the_run_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert mlflow._absolute("sqlite:///sub/m.db") == f"sqlite:///{tmp_path / 'sub' / 'm.db'}"
    for uri in ("sqlite:////m.db", "sqlite:///:memory:", "sqlite://", "http://lab:5000", "databricks"):
        assert mlflow._absolute(uri) == uri
