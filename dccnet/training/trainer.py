"""The training loop: Adam on the weak loss, validation by PCK, best and last checkpoints."""

from __future__ import annotations

import contextlib
import inspect
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel

from dccnet.evaluation.pairs import Pair, Picture
from dccnet.inference import frame_format
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import DccError, ImageError
from dccnet.training.averaging import RunningMean
from dccnet.training.batches import Batches, Sample
from dccnet.training.feature_files import FeatureFiles
from dccnet.training.features import FeatureCache
from dccnet.training.interrupt_flag import InterruptFlag
from dccnet.training.objective import Objective, gather
from dccnet.training.processes import Processes
from dccnet.training.schedule import warm_cosine
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.state import Progress, load_state, save_state
from dccnet.training.validation import (
    WITHOUT_LIST,
    Measured,
    Validation,
    measure,
    summarise,
    with_mismatched,
)
from dccnet.weights.checkpoint import save_checkpoint

ALONE = Processes()
WARM_UP = 20
"""Steps in which a scheduled learning rate rises."""
_NEW_NAME = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
# Batch statistics never change, so processes need not synchronise them in the forward pass.
_FROZEN_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _NEW_NAME else "broadcast_buffers": False}


class Listener(Protocol):
    """Is called with the progress of a run."""

    def on_step(self, progress: Progress, steps: int, values: dict[str, float]) -> None:
        """Called after each of an epoch's ``steps`` batches.

        ``values`` are ``loss``, the ``positive`` and ``negative`` scores, ``images_per_s``, and
        ``waited_s``, the seconds spent waiting for pictures to be read.
        """

    def on_validation(self, progress: Progress, validation: Validation) -> None:
        """Called after each validation; epoch 0 is before training."""


class Trainer:
    """One training run. If several processes train, each of them has a trainer.

    The seed determines all random numbers, and the epoch and step determine a batch. So a resumed run
    continues exactly, and the number of processes changes only the order in which numbers are summed.
    """

    def __init__(
        self,
        model: DCCNet,
        training: Sequence[Pair],
        validation: Sequence[Pair],
        settings: TrainSettings,
        folder: RunFolder,
        processes: Processes = ALONE,
    ) -> None:
        self.model = model.to(processes.device)
        self.model.recompute_activations({"auto": None, "on": True, "off": False}[settings.checkpointing])
        fuses = model.config.fusion == "dynamic" or model.config.embedding
        some = training[:WITHOUT_LIST] if fuses else []
        self._without_list = [replace(pair, source_points=None, target_points=None) for pair in some]
        self.validation = validation
        self.settings = settings
        self.folder = folder
        self.processes = processes
        self.progress = Progress()
        self.interrupt = InterruptFlag()
        self.batches = Batches(training, settings, model.config.image_size)
        self.features = FeatureCache(
            model, int(settings.cache_gb * 1e9), _feature_files(model, settings), settings.workers
        )
        trainable = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(_groups(trainable, model, settings), lr=settings.learning_rate)
        self.mean = RunningMean(trainable, settings.average)
        self.objective: Objective | DistributedDataParallel = Objective(model, settings)
        if processes.count > 1:
            self.objective = DistributedDataParallel(self.objective, **_FROZEN_BUFFERS)

    def run(self, listener: Listener) -> Progress:
        """Train to the last epoch or until the validation PCK stops rising.

        The state is saved before the first step, every ``save_every`` steps, after every epoch, on Ctrl-C
        and where a picture cannot be read, which raises :class:`ImageError`. Ctrl-C takes effect between
        two steps, so that a resumed run continues exactly.
        """
        with self.interrupt:
            if self.progress.total_steps == 0:
                self.save()
            try:
                while True:
                    if self.progress.validated_epochs < self.progress.epoch:
                        self._validate(listener)
                        self.save()
                    if self.progress.epoch >= self.settings.epochs or self._stale():
                        return self.progress
                    self._train_epoch(listener)
            except KeyboardInterrupt:
                self.save()
                raise
            except ImageError as error:  # all could be read when the run started
                self.save()
                raise ImageError(
                    f"{error}; the run is saved: restore the picture, then dcc train --resume "
                    f"{self.folder.path}"
                ) from error

    def validate(self) -> Validation:
        """Measure the validation pairs, by the settings' protocol; each process measures a share of them.

        Without any, the attention and the embedding are measured on some training pairs, where the network
        has them.
        """
        self.model.eval()
        pairs = with_mismatched(self.validation) or [(pair, None) for pair in self._without_list]
        measured = self.processes.collect([self._measure(*pair) for pair in self.processes.share(pairs)])
        return summarise(measured) if measured else Validation()

    def save(self) -> None:
        """Write ``last``: the network and the state to resume from, each atomically."""
        if self.processes.first:
            save_state(self.folder, self.model, self.optimizer, self.mean, self.progress)

    def restore(self) -> None:
        """Load the saved state of the run's folder. Raises :class:`CheckpointError`."""
        self.progress = load_state(self.folder, self.model, self.optimizer, self.mean)

    def _train_epoch(self, listener: Listener) -> None:
        self.model.train()
        batches = self.batches.of_epoch(self.progress.epoch)
        for number, batch in enumerate(batches[self.progress.step :], start=self.progress.step):
            self._raise_if_interrupted()
            started, waited = time.perf_counter(), self.features.waited_s
            self._prefetch(batch, *batches[number + 1 : number + 2])
            values = self._step(batch, len(batches))
            self.progress.step += 1
            self.progress.total_steps += 1
            values["images_per_s"] = 2 * len(batch) / (time.perf_counter() - started)
            values["waited_s"] = self.features.waited_s - waited
            listener.on_step(self.progress, len(batches), values)
            if self.progress.total_steps % self.settings.save_every == 0:
                self.save()
        self.progress.epoch += 1
        self.progress.step = 0

    def _prefetch(self, *batches: Sequence[Sample]) -> None:
        """Start to read the pictures of these batches."""
        for batch in batches:
            for sample in self.processes.share(batch):
                self.features.prefetch((sample.source, sample.mismatched, sample.pair.target))
                if sample.view is not None:
                    self.features.prefetch((sample.view.picture,))

    def _step(self, batch: Sequence[Sample], steps: int) -> dict[str, float]:
        mine = self.processes.share(batch)
        size = self.settings.micro_batch or len(batch)
        parts = [mine[start : start + size] for start in range(0, len(mine), size)]
        idle = not parts  # a process without a share must still join the reduction, with zero gradients
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(3, dtype=torch.float64)
        for number, samples in enumerate(parts or [batch[:1]]):
            part = gather(samples, self.features, self.settings, self.model.grid)
            share = 0.0 if idle else len(samples) / len(batch)
            with self._gradient_sync(reduce=number >= len(parts) - 1):
                loss, scores = self.objective(part)
                # DDP averages gradients over processes, but ours are parts of a sum.
                (share * self.processes.count * loss).backward()
            sums += share * torch.cat([loss.detach()[None], scores]).cpu().double()
        values = self.processes.total(sums.tolist())
        if not all(map(math.isfinite, values)):
            if not self.processes.first:  # all processes stop, and the first reports the error
                raise SystemExit(DccError.exit_code)
            raise DccError(
                f"the loss is not finite after {self.progress.total_steps} steps: start a new run with a "
                "lower --learning-rate"
            )
        for group in self.optimizer.param_groups:
            # States saved by earlier versions have no "share".
            group["lr"] = group.get("share", 1.0) * self.settings.learning_rate * self._rate(steps)
        self.optimizer.step()
        self.mean.update(self.progress.total_steps + 1)
        return dict(zip(("loss", "positive", "negative"), values, strict=True))

    def _rate(self, steps: int) -> float:
        """Factor of the learning rate for the current step, in epochs of ``steps`` steps."""
        if self.settings.schedule == "constant":
            return 1.0
        return warm_cosine(self.progress.total_steps, steps * self.settings.epochs, WARM_UP)

    def _gradient_sync(self, reduce: bool) -> contextlib.AbstractContextManager[None]:
        """A context in which ``backward`` sums the gradients of all processes if ``reduce`` is true."""
        if reduce or not isinstance(self.objective, DistributedDataParallel):
            return contextlib.nullcontext()
        no_sync: contextlib.AbstractContextManager[None] = self.objective.no_sync()
        return no_sync

    def _validate(self, listener: Listener) -> None:
        with self.mean.in_place():
            validation = self.validate()
            pck = validation.pck
            if pck is None or not (self.progress.epoch or self.settings.start_may_be_best):
                self._save_best()  # until an epoch has been trained
            elif pck > self.progress.best_pck:
                self.progress.best_pck, self.progress.stale_epochs = pck, 0
                self._save_best()
            else:
                self.progress.stale_epochs += 1
        self.progress.validated_epochs = self.progress.epoch
        self.progress.validation = validation.record()
        if self.progress.validation:
            listener.on_validation(self.progress, validation)

    def _save_best(self) -> None:
        if self.processes.first:
            save_checkpoint(self.model, self.folder.best)

    def _stale(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.progress.stale_epochs >= patience

    def _measure(self, pair: Pair, mismatched: Picture | None) -> Measured:
        if self.processes.count == 1:  # shares differ in length, so several would wait for each other
            self._raise_if_interrupted()
        of = self.settings
        return measure(
            self.model, self.features, pair, of.alpha, of.protocol, mismatched, of.branch_weights
        )

    def _raise_if_interrupted(self) -> None:
        """Raise ``KeyboardInterrupt`` in all processes if Ctrl-C was pressed in one of them."""
        if self.processes.any(self.interrupt.pressed):
            self.interrupt.pressed = False
            raise KeyboardInterrupt


def _groups(trainable: Sequence[Parameter], model: DCCNet, settings: TrainSettings) -> list[dict[str, Any]]:
    """Parameter groups of the optimizer; ``share`` is the factor of the learning rate for a group.

    A single group if all have the full rate, as in states of earlier versions.
    """
    if model.context_encoder is None or settings.context_rate == 1:
        return [{"params": trainable, "share": 1.0}]
    slow = set(model.context_encoder.parameters())
    return [
        {"params": [p for p in trainable if p not in slow], "share": 1.0},
        {"params": [p for p in trainable if p in slow], "share": settings.context_rate},
    ]


def _feature_files(model: DCCNet, settings: TrainSettings) -> FeatureFiles | None:
    if settings.feature_cache is None:
        return None
    frozen = [
        (name, tensor)
        for name, tensor in model.backbone.state_dict(keep_vars=True).items()
        if not tensor.requires_grad
    ]
    return FeatureFiles(settings.feature_cache, frozen, frame_format(model.config))
