"""Reports of a run: progress bar, experiment logs, and a log with one JSON line per event."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import TaskID

from dccnet.evaluation.pck import DESCRIPTIONS
from dccnet.runtime.console import progress_bar
from dccnet.runtime.files import write_text
from dccnet.runtime.messages import note, warn
from dccnet.runtime.reading import parse_json, read_json
from dccnet.training.experiments.logs import ExperimentLogs
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.state import Progress
from dccnet.training.validation import Validation

EVERY_S = 60.0
"""Seconds between two lines about the loss where no terminal shows the bar."""


class RunReport:
    """Reports what a :class:`~dccnet.training.trainer.Trainer` does; a context manager."""

    def __init__(
        self, folder: RunFolder, settings: TrainSettings, progress: Progress, logs: ExperimentLogs
    ) -> None:
        """Discards the events that a killed run reported after its last save, which is ``progress``.

        The folder has the run's configuration, which the logs are told.
        """
        self._settings, self._folder, self._logs = settings, folder, logs
        config = read_json(folder.config)
        self._fusion = config["model"]["fusion"]
        logs.begin(config, progress.total_steps)
        _truncate_log(folder.log, progress)
        self._log = folder.log.open("a", encoding="utf-8")
        self._bar = progress_bar("{task.fields[values]}")
        self._task: TaskID | None = None
        self._told = time.monotonic()

    def __enter__(self) -> RunReport:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._log.close()

    def on_step(self, progress: Progress, steps: int, values: dict[str, float]) -> None:
        total = steps * self._settings.epochs
        text = _step_text(values)
        epoch = f"epoch {progress.epoch + 1}/{self._settings.epochs}"
        if self._bar.disable and time.monotonic() - self._told >= EVERY_S:
            self._told = time.monotonic()
            note(f"{epoch}, step {progress.step}/{steps}: {text}")
        if self._task is None:
            self._task = self._bar.add_task("", total=total, values="")
        self._bar.update(
            self._task,
            completed=steps * progress.epoch + progress.step,
            description=epoch,
            values=text,
        )
        self._logs.scalars({f"train/{name}": value for name, value in values.items()}, progress.total_steps)
        self._write({"step": progress.total_steps, "epoch": progress.epoch + 1, **values})

    def on_validation(self, progress: Progress, validation: Validation) -> None:
        settings, values = self._settings, validation.record()
        when = f"epoch {progress.epoch}" if progress.epoch else "before training"
        scalars = {
            f"validation/{name.removeprefix('validation_')}": value for name, value in values.items()
        }
        self._logs.scalars(scalars, progress.total_steps)
        record: dict[str, Any] = {"epoch": progress.epoch, **values}
        if validation.pck is not None:
            counts = progress.best_pck > float("-inf")  # the network before training may not
            is_best = counts and progress.stale_epochs == 0
            best = " (best)" if is_best else ""
            if is_best:
                self._logs.best(self._folder.best.absolute(), progress.epoch, validation.pck)
            pck = f"PCK@{settings.alpha:g} ({settings.protocol}) {validation.pck:.2f}"
            loss = "" if validation.loss is None else f", loss {validation.loss:+#.3g}"
            note(f"{when}: validation {pck}{loss}{best}")
            protocol = f"{settings.protocol}: {DESCRIPTIONS[settings.protocol]}"
            record |= {"alpha": settings.alpha, "protocol": protocol}
        if details := validation.details():
            note(f"{when}: {details}")
        for complaint in validation.complaints(self._fusion) if progress.epoch else []:
            warn(complaint)
        self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()


def _step_text(values: dict[str, float]) -> str:
    """Losses with three significant digits: after a few epochs, they change in the third decimal."""
    loss, positive, negative = (values[name] for name in ("loss", "positive", "negative"))
    rate = values["images_per_s"]
    return (
        f"loss {loss:+#.3g}  positive {positive:#.3g}  negative {negative:#.3g}  "
        f"{rate:{'.0f' if rate >= 10 else '.2g'}} images/s"
    )


def _truncate_log(log: Path, progress: Progress) -> None:
    """Remove the records after ``progress``, and incomplete lines."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if "step" in record:
            future = record["step"] > progress.total_steps
        else:
            future = record["epoch"] > progress.validated_epochs
        if not future:
            kept.append(line)
    write_text(log, "".join(kept))


class NullReport:
    """Reports nothing: for all processes but the first."""

    def __enter__(self) -> NullReport:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def on_step(self, progress: Progress, steps: int, values: dict[str, float]) -> None:
        pass

    def on_validation(self, progress: Progress, validation: Validation) -> None:
        pass
