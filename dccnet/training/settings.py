"""What a run of ``dcc train`` was asked to do, and where it keeps its files."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dccnet.evaluation.pck import Protocol
from dccnet.network.config import ModelConfig
from dccnet.runtime.errors import CheckpointError, UsageError
from dccnet.runtime.files import write_text


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The paper's recipe is the default (spec §3)."""

    data: str | None = None
    """CSV list of pairs, or None for synthetic pairs."""
    synthetic: str | None = None
    """Folder of photographs to warp."""
    root: str | None = None
    """Folder that the pictures' paths in lists are relative to; None for the list's own."""
    validate: str | None = None
    """CSV list of pairs with keypoints; synthetic pairs validate on held-out photographs without."""
    one_based: bool = False
    """Whether keypoints in lists count from 1."""
    protocol: Protocol = "bbox"
    alpha: float = 0.1
    pairs: int = 400
    """Synthetic pairs in an epoch."""
    weights: str = "imagenet"
    """Of the backbone: ``imagenet``, ``random``, or a file."""
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 5e-4
    seed: int = 1
    patience: int | None = None
    """Stop after this many epochs without a better validation PCK; None to run all."""
    conv4d: str | None = None
    """How 4D convolutions are computed: a name of :data:`TRAINING_LOWERINGS`. A run's start
    settles None and ``auto``, so that a resumed run rounds as it began."""
    cache_gb: float = 4.0
    """Memory for features of the frozen backbone."""
    feature_cache: str | None = None
    """Folder that keeps them on disk for all epochs and runs; None for memory alone."""
    workers: int = 2
    """Threads that read and resize pictures ahead of their use."""
    device: str = "auto"
    """``auto`` (a GPU where there is one), ``cpu`` or ``cuda``."""
    precision: str = "fp32"
    """Of the forward and backward pass: ``fp32``, or ``bf16`` between the float32 islands."""
    micro_batch: int | None = None
    """Pairs that are computed at once; gradients of a batch's parts add up. None for all of a batch."""
    checkpointing: str = "auto"
    """Whether the 4D layers are recomputed in the backward pass: ``on``, ``off``, or ``auto`` by size."""
    save_every: int = 100
    """Steps between two saves of the state; epochs are saved in any case."""
    finetune_blocks: int = 0
    """Last blocks of the backbone that are trained, too."""
    supervised: float = 0.0
    """Weight of the loss on keypoints, of pairs that have them."""
    warps: float = 0.0
    """Weight of the same loss on pictures and warped views of them."""
    opposite: float = 0.0
    """Share of pairs whose source is mirrored, so that the two face opposite ways; of warped views, too.
    More than 0 also starts the 4D kernels both ways (:meth:`dccnet.DCCNet.start_both_ways`)."""
    start: str = "random"
    """Of the trained weights: ``random``, as the authors have it, or ``plain``, which works untrained
    (:meth:`dccnet.DCCNet.start_plain`), both ways if there are opposite pairs."""
    context_rate: float = 1.0
    """Share of the learning rate for the context encoder: less than 1 keeps it near a plain start."""
    schedule: str = "constant"
    """Of the learning rate: ``constant``, or ``cosine``, down to nothing at the last epoch's end."""
    negatives: str = "random"
    """Which pairs are neighbours in a batch, and so negatives of each other: ``random`` ones, as the
    authors have it, or ``apart``, of different categories where possible."""
    average: float = 0.0
    """Weight of the past in the running mean of the weights that is validated and saved; 0 for none."""

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


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one training run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def start(self) -> Path:
        """The network before training."""
        return self.path / "start.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "last.state.pt"

    @property
    def log(self) -> Path:
        """A JSON line for each step and each validation."""
        return self.path / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def write_config(self, model: ModelConfig, settings: TrainSettings) -> None:
        content = {"model": json.loads(model.to_json()), "training": dataclasses.asdict(settings)}
        write_text(self.config, json.dumps(content, indent=2) + "\n")

    def read_config(self) -> tuple[ModelConfig, TrainSettings]:
        """Raises :class:`CheckpointError` where there is no run to resume."""
        try:
            content: dict[str, Any] = json.loads(self.config.read_text(encoding="utf-8"))
            model = ModelConfig.from_json(json.dumps(content["model"]))
            return model, TrainSettings(**content["training"])
        except FileNotFoundError:
            raise CheckpointError(f"{self.path} holds no training run: there is no config.json") from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(f"{self.config} is damaged ({error}): start a new run") from error


def new_run_folder(path: str | os.PathLike[str]) -> RunFolder:
    """Raises :class:`UsageError` where a run already lives there."""
    folder = RunFolder(Path(path))
    if folder.config.exists():
        raise UsageError(
            f"{path} already holds a run: continue it with dcc train --resume {path}, or name another "
            "folder"
        )
    return folder
