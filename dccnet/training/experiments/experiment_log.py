"""What a tool that logs experiments is told about a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["finished", "stopped", "failed"]
"""How a run ended: ``stopped`` by Ctrl-C."""


class ExperimentLog(Protocol):
    """The run as one tool keeps it. Methods may raise any exception, after which no other is called."""

    @property
    def identity(self) -> dict[str, str]:
        """What a resumed run needs to continue in the same place; empty if that is the run's folder."""

    def begin(self, parameters: Mapping[str, Any], step: int) -> None:
        """Called once, before the methods below.

        ``parameters`` is the content of the run's ``config.json``. ``step`` is the last step that is saved:
        what a killed run has logged of later ones will be logged again.
        """

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log values of a step, such as ``train/loss`` and ``validation/pck``."""

    def best(self, checkpoint: Path, epoch: int, pck: float) -> None:
        """Note that ``checkpoint`` now has the network after ``epoch``, the best so far, of this PCK in
        percent. No file is copied."""

    def close(self, status: Status) -> None:
        """Write what is missing, and note how the run ended."""
