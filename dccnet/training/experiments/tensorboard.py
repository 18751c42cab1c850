"""Event files for TensorBoard, in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dccnet.runtime.extras import required
from dccnet.training.experiments.experiment_log import Status


def library() -> Any:
    """PyTorch's ``SummaryWriter``. Raises :class:`DccError` where TensorBoard is not installed."""
    with required("--log tensorboard", "train"):
        from torch.utils.tensorboard.writer import SummaryWriter
    return SummaryWriter


class TensorBoardLog:
    """An :class:`~dccnet.training.experiments.experiment_log.ExperimentLog`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events: Any = None
        self._step = 0

    @property
    def identity(self) -> dict[str, str]:
        return {}

    def begin(self, parameters: Mapping[str, Any], step: int) -> None:
        self._step = step
        self._events = library()(str(self._folder), purge_step=step + 1)
        self._events.add_text("config", _as_code(parameters), step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._step = step

    def best(self, checkpoint: Path, epoch: int, pck: float) -> None:
        values = {"checkpoint": str(checkpoint), "epoch": epoch, "pck": pck}
        self._events.add_text("best", _as_code(values), self._step)
        self._events.flush()

    def close(self, status: Status) -> None:
        if self._events is not None:
            self._events.close()


def _as_code(values: Mapping[str, Any]) -> str:
    """JSON as a code block of Markdown, which TensorBoard shows as it is."""
    return "".join(f"    {line}\n" for line in json.dumps(values, indent=2).splitlines())
