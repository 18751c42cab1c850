"""Runs of Weights & Biases. Its environment variables, such as ``WANDB_MODE``, mean what they always do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dccnet.runtime.extras import required
from dccnet.training.experiments.experiment_log import Status

PROJECT = "dccnet"
"""Of new runs, unless ``WANDB_PROJECT`` names another."""
_QUIET = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "host": "",
    "finish_timeout": 120.0,  # a server that is gone would keep a finished training for ever
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""Settings that keep wandb from sending what nobody asked for: the terminal's text, the command line, names
of the machine and of its user, git's state and differences, installed packages, the machine's load."""


def library() -> Any:
    """The module ``wandb``. Raises :class:`DccError` where it is not installed."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # reports of crashes, to wandb's makers
    with required("--log wandb", "wandb"):
        import wandb
    return wandb


class WandbLog:
    """An :class:`~dccnet.training.experiments.experiment_log.ExperimentLog`.

    Its files are in ``folder``, unless ``WANDB_DIR`` names another. With the identity of an earlier log, it
    continues that run.
    """

    def __init__(self, folder: Path, name: str, identity: Mapping[str, str] | None) -> None:
        wandb = library()
        given: dict[str, Any] = {"project": PROJECT, "name": name, "dir": str(folder), **_QUIET}
        given = {key: value for key, value in given.items() if f"WANDB_{key.upper()}" not in os.environ}
        settings = {key: given.pop(key) for key in _QUIET if key in given}
        if identity is not None:
            given.pop("name", None)  # the run may have got another since
            given |= {**identity, "resume": "allow"}
        self._run: Any = wandb.init(**given, reinit="create_new", settings=wandb.Settings(**settings))

    @property
    def identity(self) -> dict[str, str]:
        found = {"id": self._run.id, "project": self._run.project, "entity": self._run.entity}
        return {name: value for name, value in found.items() if value}

    def begin(self, parameters: Mapping[str, Any], step: int) -> None:
        self._run.config.update(dict(parameters), allow_val_change=True)
        # wandb's own step only ever grows, and would drop what a resumed run computes again.
        for group in ("train/*", "validation/*"):
            self._run.define_metric(group, step_metric="step")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({"step": step, **values})

    def best(self, checkpoint: Path, epoch: int, pck: float) -> None:
        self._run.summary.update({"best/checkpoint": str(checkpoint), "best/epoch": epoch, "best/pck": pck})

    def close(self, status: Status) -> None:
        self._run.finish(exit_code=0 if status == "finished" else 1)
