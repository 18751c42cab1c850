"""Runs of MLflow, on the server or in the database that its environment variables name."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dccnet.runtime.extras import required
from dccnet.runtime.messages import note
from dccnet.training.experiments.experiment_log import Status

EXPERIMENT = "dccnet"
"""Of new runs, unless ``MLFLOW_EXPERIMENT_NAME`` or ``MLFLOW_EXPERIMENT_ID`` names another."""
_LONGEST = 6000
"""Characters of a parameter's value that MLflow accepts."""
_MOST = 100
"""Parameters that a request may have."""
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_DATABASES = ("mssql", "mysql", "postgresql", "sqlite")
_SQLITE = "sqlite:///"
_URI = "MLFLOW_TRACKING_URI"


def library() -> Any:
    """The module ``mlflow``. Raises :class:`DccError` where it is not installed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # reports of use, to MLflow's makers
    with required("--log mlflow", "mlflow"):
        import mlflow
    return mlflow


class MlflowLog:
    """An :class:`~dccnet.training.experiments.experiment_log.ExperimentLog`.

    With the identity of an earlier log, it continues that run.
    """

    def __init__(self, name: str, identity: Mapping[str, str] | None) -> None:
        mlflow, kept = library(), identity or {}
        given = os.environ.get(_URI) or kept.get("tracking_uri") or mlflow.get_tracking_uri()
        self._uri: str = _absolute(given)
        if urlsplit(self._uri).scheme.partition("+")[0] in _DATABASES:
            with required("MLflow's database", "mlflow"):
                import alembic  # noqa: F401
                import sqlalchemy  # noqa: F401
        note(f"MLflow: {self._shown_uri()}")  # before its client tries for minutes to reach it
        self._client: Any = mlflow.MlflowClient(tracking_uri=self._uri)
        if identity is None:
            self._run: str = self._client.create_run(self._experiment(), run_name=name).info.run_id
        else:
            self._run = kept["run_id"]
            self._client.update_run(self._run, status="RUNNING")
        note(f"MLflow: run {self._run}")

    @property
    def identity(self) -> dict[str, str]:
        found = {"run_id": self._run, "tracking_uri": self._shown_uri()}
        return found if self._shown_uri() == self._uri else {"run_id": self._run}

    def begin(self, parameters: Mapping[str, Any], step: int) -> None:
        from mlflow.entities import Param

        now = dict(_flat(parameters))
        before = self._client.get_run(self._run).data.params
        for some in _parts([Param(name, now[name]) for name in now.keys() - before.keys()]):
            self._client.log_batch(self._run, params=some)
        for name in now.keys() & before.keys():
            if now[name] != before[name]:  # a parameter cannot change: the new value is a tag
                self._client.set_tag(self._run, name, now[name])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(
            self._run, [Metric(name, value, now, step) for name, value in values.items()]
        )

    def best(self, checkpoint: Path, epoch: int, pck: float) -> None:
        for name, value in (("checkpoint", str(checkpoint)), ("epoch", str(epoch)), ("pck", f"{pck:.4f}")):
            self._client.set_tag(self._run, f"best.{name}", value)

    def close(self, status: Status) -> None:
        self._client.set_terminated(self._run, _STATUS[status])

    def _experiment(self) -> str:
        if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return number
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        identifier: str = found.experiment_id if found else self._client.create_experiment(name)
        return identifier

    def _shown_uri(self) -> str:
        """The address without a user's name and password."""
        parts = urlsplit(self._uri)
        return (
            parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
            if "@" in parts.netloc
            else self._uri
        )


def _absolute(uri: str) -> str:
    """``uri``; a database's file with its whole path, for a run that is resumed in another folder."""
    file = uri.removeprefix(_SQLITE)
    relative = file != uri and not file.startswith(("/", ":", "file:")) and file
    return f"{_SQLITE}{Path(file).absolute()}" if relative else uri


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``training.epochs`` and its value as text, for all values at any depth."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{prefix}{name}", text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _parts(items: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(items)
    while part := list(itertools.islice(left, _MOST)):
        yield part
