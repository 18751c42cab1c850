"""The logs of a run: opened, told the same things, and given up where they fail."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dccnet.runtime.errors import DccError
from dccnet.runtime.files import write_text
from dccnet.runtime.messages import warn
from dccnet.runtime.reading import read_json
from dccnet.training.experiments import mlflow, tensorboard, wandb
from dccnet.training.experiments.background import BackgroundLog
from dccnet.training.experiments.experiment_log import ExperimentLog, Status
from dccnet.training.settings import RunFolder

TITLES = {"tensorboard": "TensorBoard", "wandb": "Weights & Biases", "mlflow": "MLflow"}
LONGEST = 160
"""Characters of a reason."""
_LIBRARIES = {"tensorboard": tensorboard.library, "wandb": wandb.library, "mlflow": mlflow.library}
_ADVICE = {
    "tensorboard": "see that its folder can be written",
    "wandb": "log in with wandb login, or set WANDB_MODE=offline and run wandb sync later",
    "mlflow": "set MLFLOW_TRACKING_URI to a server that answers, or to sqlite:///FILE",
}


def refuse_missing_logs(names: Sequence[str]) -> None:
    """Raise :class:`DccError` for a log whose library is not installed."""
    for name in names:
        _LIBRARIES[name]()


class ExperimentLogs:
    """Tells several logs the same. One that fails is left out from then on, with a warning."""

    def __init__(self) -> None:
        self._logs: dict[str, ExperimentLog] = {}

    def add(self, name: str, log: ExperimentLog) -> None:
        """``name`` is a key of :data:`TITLES`."""
        self._logs[name] = log

    def identities(self) -> dict[str, dict[str, str]]:
        """Those that are not empty, by the names of the logs."""
        return {name: log.identity for name, log in self._logs.items() if log.identity}

    def begin(self, parameters: Mapping[str, Any], step: int) -> None:
        self._tell(lambda log: log.begin(parameters, step))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._tell(lambda log: log.scalars(values, step))

    def best(self, checkpoint: Path, epoch: int, pck: float) -> None:
        self._tell(lambda log: log.best(checkpoint, epoch, pck))

    def close(self, status: Status) -> None:
        self._tell(lambda log: log.close(status))

    def _tell(self, call: Callable[[ExperimentLog], None]) -> None:
        for name, log in list(self._logs.items()):
            try:
                call(log)
            except Exception as error:
                del self._logs[name]
                warn(
                    f"{TITLES[name]} misses the rest of this run ({_reason(error)}); the training itself "
                    "is not affected"
                )


@contextlib.contextmanager
def experiment_logs(folder: RunFolder, names: Sequence[str], *, resume: bool) -> Iterator[ExperimentLogs]:
    """The logs ``names`` of the run in ``folder``, closed at the end.

    A resumed run continues its logs, whose identities are in the folder, and does without one that cannot
    be opened. A new run raises :class:`DccError` for it.
    """
    refuse_missing_logs(names)
    kept = _identities(folder) if resume else {}
    logs = ExperimentLogs()
    status: Status = "failed"
    try:
        for name in dict.fromkeys(names):
            try:
                logs.add(name, _open(name, folder, kept.get(name)))
            except Exception as error:
                problem = f"{TITLES[name]} cannot log this run ({_reason(error)})"
                if not resume:
                    raise DccError(f"{problem}: {_ADVICE[name]}") from error
                warn(f"{problem}, which goes on without it: {_ADVICE[name]}")
        if found := logs.identities():
            write_text(folder.logs, json.dumps(kept | found, indent=2) + "\n")
        yield logs
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        logs.close(status)


def _open(name: str, folder: RunFolder, identity: Mapping[str, str] | None) -> ExperimentLog:
    title = "/".join(folder.path.absolute().parts[-2:])
    if name == "tensorboard":
        return tensorboard.TensorBoardLog(folder.tensorboard)
    if name == "wandb":
        return wandb.WandbLog(folder.path, title, identity)
    return BackgroundLog(mlflow.MlflowLog(title, identity))


def _identities(folder: RunFolder) -> dict[str, dict[str, str]]:
    try:
        found = read_json(folder.logs)
        return {name: {key: str(value) for key, value in kept.items()} for name, kept in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        warn(f"{folder.logs} is damaged ({error}): the logs of this run begin anew")
        return {}


def _reason(error: Exception) -> str:
    """The first line of a message, without a full stop; MLflow's may have hundreds of characters."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0].rstrip(" .:") if len(lines[0]) <= LONGEST else f"{lines[0][: LONGEST - 1]}…"
