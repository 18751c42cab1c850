"""What a run saves to continue from: weights, their running mean, the optimizer, and where it stands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
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
    """Where a run stands; saved with every checkpoint."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Batches finished in the current epoch."""
    total_steps: int = 0
    best_pck: float = float("-inf")
    stale_epochs: int = 0
    """Epochs since the best."""
    validated_epochs: int = -1
    """The epoch after which the last validation was; -1 before the first, which precedes training."""


def save_state(
    folder: RunFolder,
    model: DCCNet,
    optimizer: torch.optim.Optimizer,
    mean: RunningMean,
    progress: Progress,
) -> None:
    """Write ``last``: the network to use, and the state to resume from, each atomically.

    The state comes second and stands alone, so that a run killed between the two continues from an
    earlier state and writes both anew.
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
    """Continue where the state in the run's folder stands. Raises :class:`CheckpointError`."""
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
    except Exception as error:  # torch raises whatever damaged bytes provoke
        raise CheckpointError(f"{path} is damaged or of another run: start a new run") from error
