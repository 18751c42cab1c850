"""The settings of a training run, and the files in its folder."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dccnet.evaluation.pck import Protocol
from dccnet.network.config import ModelConfig
from dccnet.runtime.decoding import decode
from dccnet.runtime.errors import CheckpointError, UsageError
from dccnet.runtime.files import sha256, write_text
from dccnet.runtime.reading import read_json
from dccnet.training.options import LOGS, PATHS

BRANCH_WEIGHTS = ("lambda_local", "gamma_context")
"""Settings that concern networks with auxiliary losses only."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The settings of ``dcc train``. The defaults are the paper's recipe (spec §3)."""

    data: str | None = None
    """CSV list of pairs to train on; None if ``synthetic`` is given."""
    synthetic: str | None = None
    """Folder of photographs whose warped views are trained on; None if ``data`` is given."""
    root: str | None = None
    """Folder that the paths in the lists are relative to; None for each list's own folder."""
    skip_unreadable: bool = False
    """Leave out pairs and photographs that cannot be read when the run starts."""
    validate: str | None = None
    """CSV list of pairs with keypoints; None validates synthetic training on held-out photographs."""
    one_based: bool = False
    """Whether coordinates of keypoints in lists count from 1."""
    protocol: Protocol = "bbox"
    """What the threshold of the validation PCK is relative to."""
    alpha: float = 0.1
    """Threshold of the validation PCK."""
    pairs: int = 400
    """Synthetic pairs per epoch."""
    weights: str = "imagenet"
    """Weights of the backbone: ``imagenet``, ``random``, or a file."""
    from_checkpoint: str | None = None
    """File of a whole network to train on from; ``weights`` and ``start`` then have no meaning."""
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 5e-4
    seed: int = 1
    patience: int | None = None
    """Stop after this many epochs without a better validation PCK; None runs all epochs."""
    conv4d: str | None = None
    """Lowering of the 4D convolutions: a key of :data:`TRAINING_LOWERINGS`. A new run replaces None and
    ``auto`` by the lowering that it uses, so that a resumed run rounds alike."""
    cache_gb: float = 4.0
    """Memory for features of the frozen backbone, in GB."""
    feature_cache: str | None = None
    """Folder that keeps the features on disk for all epochs and runs; None keeps them in memory only."""
    workers: int = 2
    """Threads that read and resize pictures in advance."""
    device: str = "auto"
    """``auto`` (a GPU if there is one), ``cpu`` or ``cuda``."""
    precision: str = "fp32"
    """Precision of the forward and backward pass: ``fp32``, or ``bf16`` outside the float32 islands."""
    tf32: bool = False
    """Let a GPU multiply float32 with ten bits of mantissa."""
    micro_batch: int | None = None
    """Pairs computed at once; gradients are summed over the batch. None computes a whole batch at once."""
    checkpointing: str = "auto"
    """Whether the backward pass recomputes the 4D layers: ``on``, ``off``, or ``auto`` (by volume size)."""
    save_every: int = 100
    """Steps between two saves of the state, which is also saved after every epoch."""
    finetune_blocks: int = 0
    """Number of last blocks of the backbone that are also trained."""
    lambda_local: float = 1.0
    """λ of Eq. 18: weight of the local branch's own loss, for a network with auxiliary losses."""
    gamma_context: float = 1.0
    """γ of Eq. 18: weight of the context branch's own loss."""
    count_start: bool | None = None
    """Whether the network before training counts as an epoch that may be the best; None where it is that
    of ``from_checkpoint``, which has been trained."""
    supervised: float = 0.0
    """Weight of the supervised loss on the list's keypoints."""
    warps: float = 0.0
    """Weight of the supervised loss between pictures and their warped views."""
    opposite: float = 0.0
    """Share of pairs whose source is mirrored, so that the objects face opposite ways, and of mirrored
    warped views. More than 0 also mirrors half of the initial 4D kernels (``starts.py``)."""
    start: str = "random"
    """Initial weights: ``random``, as in the authors' code, or ``plain``, which already match without
    training (``starts.py``)."""
    context_rate: float = 1.0
    """Factor of the learning rate for the context encoder; less than 1 keeps it close to a plain start."""
    schedule: str = "constant"
    """Learning rate schedule: ``constant``, or ``cosine``, which falls to zero at the end of the run."""
    negatives: str = "random"
    """Which pairs are neighbours in a batch, and so negatives of each other: ``random`` pairs, as in the
    authors' code, or ``apart``, pairs of different categories where possible."""
    average: float = 0.0
    """Decay of the running mean of the weights, which is validated and saved; 0 disables the mean."""
    log: tuple[str, ...] = ("tensorboard",)
    """Where the run is logged: ``tensorboard``, ``wandb``, ``mlflow``, or several of them."""

    @property
    def branch_weights(self) -> tuple[float, float]:
        """λ and γ of Eq. 18."""
        return self.lambda_local, self.gamma_context

    @property
    def start_may_be_best(self) -> bool:
        """:attr:`count_start`, or its default."""
        return self.from_checkpoint is not None if self.count_start is None else self.count_start

    def __post_init__(self) -> None:
        if (self.data is None) == (self.synthetic is None):
            raise UsageError("train either on a list of pairs (--data) or on photographs (--synthetic)")
        rates = (self.learning_rate, self.context_rate)
        if not all(map(math.isfinite, (*rates, self.alpha, self.cache_gb, self.supervised, self.warps))):
            raise UsageError(
                "--learning-rate, --context-rate, --alpha, --cache-gb, --supervised and --warps must be "
                "finite numbers"
            )
        if self.batch_size < 2:
            raise UsageError("--batch-size must be at least 2: negatives come from within the batch")
        if unknown := set(self.log) - set(LOGS):
            raise UsageError(f"there is no log {min(unknown)}: choose from {', '.join(LOGS)}")


def with_absolute_paths(settings: TrainSettings) -> TrainSettings:
    """The settings with absolute paths, so that a run can be resumed from any folder.

    A file of backbone weights is a path, too.
    """
    paths = {name: getattr(settings, name) for name in PATHS}
    paths["from_checkpoint"] = settings.from_checkpoint
    if Path(settings.weights).is_file():
        paths["weights"] = settings.weights
    # Not resolved: the pictures of a list that is a link are beside the link.
    absolute: dict[str, Any] = {
        name: str(Path(path).absolute()) for name, path in paths.items() if path is not None
    }
    return dataclasses.replace(settings, **absolute)


def digests(settings: TrainSettings) -> dict[str, str]:
    """SHA-256 of the settings' lists, by the name of the setting."""
    lists = {"data": settings.data, "validate": settings.validate}
    files = {name: Path(path) for name, path in lists.items() if path is not None}
    return {name: sha256(path) for name, path in files.items() if path.is_file()}


@dataclass(frozen=True, slots=True)
class RunConfig:
    """The content of ``config.json``."""

    model: ModelConfig
    training: TrainSettings
    lists: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the lists ``data`` and ``validate``, where there are any; empty in runs of 0.1."""
    left_out: tuple[str, ...] = ()
    """Pictures that could not be read when the run started, relative to the folder of the pictures."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one training run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def start(self) -> Path:
        """The untrained network."""
        return self.path / "start.safetensors"

    @property
    def last(self) -> Path:
        """The network of the last save."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The network with the best validation PCK."""
        return self.path / "best.safetensors"

    @property
    def state(self) -> Path:
        """The state to resume from."""
        return self.path / "last.state.pt"

    @property
    def log(self) -> Path:
        """One JSON line per step and per validation."""
        return self.path / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def logs(self) -> Path:
        """What the run is called by Weights & Biases and MLflow, where it is logged there."""
        return self.path / "logs.json"

    @property
    def can_resume(self) -> bool:
        """Whether there is a run: its configuration, and a saved state or at least the untrained network.

        The configuration is written after the untrained network, so that a run can be resumed from then on.
        """
        return self.config.exists() and (self.state.exists() or self.start.exists())

    def write_config(
        self, model: ModelConfig, settings: TrainSettings, left_out: tuple[str, ...] = ()
    ) -> None:
        content = dataclasses.asdict(RunConfig(model, settings, digests(settings), left_out))
        write_text(self.config, json.dumps(content, indent=2) + "\n")

    def read_config(self) -> RunConfig:
        """The run's configuration. Raises :class:`CheckpointError` if it is missing or damaged."""
        try:
            return decode(RunConfig, read_json(self.config))
        except FileNotFoundError:
            raise CheckpointError(f"{self.path} holds no training run: there is no config.json") from None
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{self.config} is damaged ({error}): start a new run") from error


def new_run_folder(path: str | os.PathLike[str]) -> RunFolder:
    """The folder ``path`` of a new run. Raises :class:`UsageError` if it already holds a run."""
    folder = RunFolder(Path(path))
    if folder.can_resume:
        raise UsageError(
            f"{path} already holds a run: continue it with dcc train --resume {path}, or choose "
            "another folder"
        )
    return folder
