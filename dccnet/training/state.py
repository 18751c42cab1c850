"""The state that a run is resumed from: weights, their running mean, optimizer and progress."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch

from dccnet.network.model import DCCNet
from dccnet.runtime.errors import CheckpointError
from dccnet.runtime.files import atomic_path
from dccnet.training.averaging import RunningMean
from dccnet.training.settings import RunFolder
from dccnet.weights.checkpoint import save_checkpoint


@dataclass(slots=True)
class Progress:
    """The progress of a run; saved with its state."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps of the current epoch."""
    total_steps: int = 0
    best_pck: float = float("-inf")
    stale_epochs: int = 0
    """Epochs since the best validation PCK."""
    validated_epochs: int = -1
    """Finished epochs at the last validation; -1 before the first validation, which precedes training."""
    validation: dict[str, float] = field(default_factory=dict)
    """What the last validation measured: :meth:`Validation.record`."""


def save_state(
    folder: RunFolder,
    model: DCCNet,
    optimizer: torch.optim.Optimizer,
    mean: RunningMean,
    progress: Progress,
) -> None:
    """Write ``last``: the network with its mean weights, and the state to resume from, each atomically.

    The state is written second and does not depend on the network's file. A run that is killed between
    the two resumes from its earlier state and writes both again.
    """
    with mean.in_place():
        save_checkpoint(model, folder.last)
    state = {
        "model": {name: p.detach() for name, p in model.named_parameters() if p.requires_grad},
        "mean": mean.means,
        "optimizer": optimizer.state_dict(),
        "progress": dataclasses.asdict(progress),
    }
    with atomic_path(folder.state) as temporary:
        torch.save(state, temporary)


def load_state(
    folder: RunFolder, model: DCCNet, optimizer: torch.optim.Optimizer, mean: RunningMean
) -> Progress:
    """Load the saved state of the run's folder. Raises :class:`CheckpointError`."""
    path = folder.state
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"], strict=False)
        optimizer.load_state_dict(state["optimizer"])
        for mine, saved in zip(mean.means, state["mean"], strict=True):
            mine.copy_(saved)
        return Progress(**state["progress"])
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist: the run stopped before its first save") from None
    except Exception as error:  # damaged bytes make torch raise many kinds of errors
        raise CheckpointError(f"{path} is damaged or belongs to another run: start a new run") from error
