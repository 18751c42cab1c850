"""The training loop: Adam on the weak loss, validation PCK, best and last checkpoint."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dccnet.checkpoint import save_checkpoint
from dccnet.loss import weak_loss
from dccnet.model import DCCNet
from evaluation.pairs import Pair
from evaluation.pck import mean_pck
from runtime.correspondences import Correspondences
from runtime.errors import CheckpointError, DccError
from runtime.files import atomic_path
from training.features import FeatureCache
from training.settings import RunFolder, TrainSettings


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


class Listener(Protocol):
    """Who wants to know what happens."""

    def on_step(self, progress: Progress, steps: int, values: dict[str, float]) -> None:
        """After each batch: ``loss``, ``positive`` and ``negative`` score, ``images_per_s``."""

    def on_validation(self, progress: Progress, pck: float) -> None:
        """After each validation, PCK in percent; epoch 0 is before training."""


class Trainer:
    """One run. Everything random follows from the seed, so a resumed run continues exactly."""

    def __init__(
        self,
        model: DCCNet,
        training: Sequence[Pair],
        validation: Sequence[Pair],
        settings: TrainSettings,
        folder: RunFolder,
        listener: Listener,
    ) -> None:
        self.model = model
        self.training = training
        self.validation = validation
        self.settings = settings
        self.folder = folder
        self.listener = listener
        self.progress = Progress()
        self.interrupts = Interrupts()
        self.features = FeatureCache(model, int(settings.cache_gb * 1e9))
        trainable = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trainable, lr=settings.learning_rate)

    def run(self) -> Progress:
        """Train to the last epoch or until the validation PCK stops rising.

        The state is saved before the first step, after every epoch and on Ctrl-C, which takes effect
        between two steps, so that a resumed run continues exactly.
        """
        with self.interrupts:
            if self.progress.total_steps == 0:
                self.save()
            try:
                while True:
                    if self.progress.validated_epochs < self.progress.epoch:
                        self._validate()
                        self.save()
                    if self.progress.epoch >= self.settings.epochs or self._stale():
                        return self.progress
                    self._train_epoch()
            except KeyboardInterrupt:
                self.save()
                raise

    def validation_pck(self) -> float:
        """In percent, by the settings' protocol."""
        self.model.eval()
        return mean_pck(self.validation, self._match, self.settings.alpha, self.settings.protocol)

    def save(self) -> None:
        """Write ``last``: the network to use, and the state to resume from, each atomically."""
        save_checkpoint(self.model, self.folder.last)
        state = {
            "model": _trainable_state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "progress": dataclasses.asdict(self.progress),
        }
        with atomic_path(self.folder.state) as temporary:
            torch.save(state, temporary)

    def restore(self) -> None:
        """Continue where the state in the run's folder stands. Raises :class:`CheckpointError`."""
        path = self.folder.state
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(state["model"], strict=False)
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])
        except FileNotFoundError:
            raise CheckpointError(f"{path} does not exist: the run stopped before its first save") from None
        except Exception as error:  # torch raises whatever damaged bytes provoke
            raise CheckpointError(f"{path} is damaged or of another run: start a new run") from error

    def _train_epoch(self) -> None:
        self.model.train()
        batches = list(self._batches())
        for batch in batches[self.progress.step :]:
            self.interrupts.check()
            started = time.perf_counter()
            values = self._step(batch)
            self.progress.step += 1
            self.progress.total_steps += 1
            values["images_per_s"] = 2 * len(batch) / (time.perf_counter() - started)
            self.listener.on_step(self.progress, len(batches), values)
        self.progress.epoch += 1
        self.progress.step = 0

    def _batches(self) -> Iterator[list[Pair]]:
        rng = np.random.default_rng([self.settings.seed, self.progress.epoch])
        groups = [pair.category for pair in self.training]
        order = epoch_order(groups, rng, self._apart())
        size = self.settings.batch_size
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            if self._apart():
                chosen = in_a_ring(chosen, groups)
            batch = [self.training[i] for i in chosen]
            if len(batch) >= 2:  # a batch of one has no negative
                yield batch

    def _apart(self) -> bool:
        # Views of one photograph would be false negatives; lists are shuffled as the authors do.
        return self.settings.synthetic is not None

    def _step(self, batch: Sequence[Pair]) -> dict[str, float]:
        source = self.features.batch([pair.source for pair in batch])
        target = self.features.batch([pair.target for pair in batch])
        result = weak_loss(self.model, self.model.describe(source), self.model.describe(target))
        if not torch.isfinite(result.loss):
            raise DccError(
                f"the loss is not finite after {self.progress.total_steps} steps: start a new run with a "
                "lower --learning-rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        self.optimizer.step()
        return {
            "loss": float(result.loss.detach()),
            "positive": float(result.positive),
            "negative": float(result.negative),
        }

    def _validate(self) -> None:
        if not self.validation:
            save_checkpoint(self.model, self.folder.best)
            self.progress.validated_epochs = self.progress.epoch
            return
        pck = self.validation_pck()
        if pck > self.progress.best_pck:
            self.progress.best_pck, self.progress.stale_epochs = pck, 0
            save_checkpoint(self.model, self.folder.best)
        else:
            self.progress.stale_epochs += 1
        self.progress.validated_epochs = self.progress.epoch
        self.listener.on_validation(self.progress, pck)

    def _stale(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.progress.stale_epochs >= patience

    def _match(self, pair: Pair) -> Correspondences:
        self.interrupts.check()
        return self.features.match(pair)


class Interrupts:
    """Ctrl-C as a question: noted while the context lasts, raised where :meth:`check` is called.

    A second Ctrl-C takes effect at once. Outside the main thread signals stay as they are.
    """

    def __init__(self) -> None:
        self._noted = False
        self._previous: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def check(self) -> None:
        if self._noted:
            self._noted = False
            raise KeyboardInterrupt

    def _note(self, *_: object) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True


def epoch_order(groups: Sequence[str], rng: np.random.Generator, apart: bool) -> list[int]:
    """A random order of all indices; ``apart`` lets the groups take turns until they are used up."""
    shuffled = [int(i) for i in rng.permutation(len(groups))]
    if not apart:
        return shuffled
    waiting: dict[str, list[int]] = {}
    for i in shuffled:
        waiting.setdefault(groups[i], []).append(i)
    order: list[int] = []
    while waiting:  # in the same order every time, so that no stretch holds one group too often
        order += [queue.pop() for queue in waiting.values()]
        waiting = {name: queue for name, queue in waiting.items() if queue}
    return order


def in_a_ring(batch: Sequence[int], groups: Sequence[str]) -> list[int]:
    """The batch reordered so that no two neighbours, nor last and first, are of one group.

    Negatives are the batch rolled by one, so neighbours become pairs. Possible while no group fills
    more than half of the batch.
    """
    sizes = Counter(groups[i] for i in batch)
    by_size = sorted(batch, key=lambda i: (-sizes[groups[i]], groups[i]))
    ring = [0] * len(batch)
    # The largest groups first, every other place, then the places between.
    for place, i in zip([*range(0, len(batch), 2), *range(1, len(batch), 2)], by_size, strict=True):
        ring[place] = i
    return ring


def _trainable_state(model: DCCNet) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
