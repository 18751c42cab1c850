"""The one description of a network: every preset and ablation is a value of :class:`ModelConfig`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from dccnet.network.backbone import BACKBONES

BRANCHES = ("local", "context")
FUSIONS = ("dynamic", "average", "product", "support")
NOTHING_LEARNT = ("product", "support")
"""Fusions without weights: they have no embedding, and take the maps, not their scores."""
BLENDS = ("scores", "maps")
LARGEST_SIDE = 4096
"""Of the frames, in pixels: the correlation map of two such frames has 4 billion scores."""
LARGEST_RANK = 4096

_LIST_EXAMPLES = {
    "image_size": "[400, 400]",
    "branches": '["local", "context"]',
    "consensus_kernels": "[5, 5, 5]",
    "consensus_channels": "[16, 16, 1]",
}
"""The fields that are lists, in JSON."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes and structure of a network. The defaults are the published DCCNet.

    Raises ``ValueError``, naming the field, for a combination that is no network.
    """

    backbone: str = "resnet101"
    image_size: tuple[int, int] = (400, 400)
    """(height, width) in pixels that the network was trained at."""

    branches: tuple[str, ...] = BRANCHES
    """Which correlation maps exist: ``local`` from the backbone's features Z, ``context`` from G."""

    context_kernel: int = 25
    """k of Eq. 4: side of the neighbourhood, in cells, whose self-similarity describes a cell."""
    context_channels: int = 1024
    """l of Eq. 6: channels of the context-aware features G."""

    consensus_kernels: tuple[int, ...] = (5, 5, 5)
    consensus_channels: tuple[int, ...] = (16, 16, 1)
    """Output channels of each 4D layer; shared by neighbourhood consensus and correlation embedding."""

    fusion: str | None = "dynamic"
    """How two branches become one map: ``dynamic`` (Eq. 12-16), ``average``, ``product`` (of both
    maps), ``support`` (a product with exponents by the support of neighbours; both not in the paper), or
    None for one branch."""
    blend: str = "scores"
    """What the fusion blends: each branch's ``scores``, after softmax, as the released code does, or its
    ``maps``, before it (Eq. 15). ``product`` and ``support`` ignore it."""
    embedding: bool = True
    """Whether the correlation embedding network (Eq. 12) precedes the fusion."""
    auxiliary_loss: bool = True
    """Whether each branch is also trained on its own (Eq. 18). Concerns training only."""

    adapter_rank: int = 0
    """Rank of the learnt change of the backbone's features that ``dcc adapt`` trains (not in the paper); 0:
    there is none."""

    def __post_init__(self) -> None:
        for name, example in _LIST_EXAMPLES.items():
            value = getattr(self, name)
            _require(
                isinstance(value, (list, tuple)),
                f"{name} must be a list, such as {example}, got {value!r}",
            )
            object.__setattr__(self, name, tuple(value))  # JSON has lists only
        for field in ("context_kernel", "context_channels"):
            _require(type(getattr(self, field)) is int, f"{field} must be a whole number")
        _require(
            type(self.adapter_rank) is int and 0 <= self.adapter_rank <= LARGEST_RANK,
            f"adapter_rank must be a whole number from 0 to {LARGEST_RANK}, got {self.adapter_rank!r}",
        )
        for field in ("embedding", "auxiliary_loss"):
            _require(type(getattr(self, field)) is bool, f"{field} must be true or false")
        for field in ("image_size", "consensus_kernels", "consensus_channels"):
            whole = all(type(value) is int for value in getattr(self, field))
            _require(whole, f"{field} must contain whole numbers, got {getattr(self, field)}")
        _require(
            isinstance(self.backbone, str) and self.backbone in BACKBONES,
            f"unknown backbone '{self.backbone}': choose one of {', '.join(BACKBONES)}",
        )
        _require(
            len(self.image_size) == 2
            and min(self.image_size) >= 32
            and max(self.image_size) <= LARGEST_SIDE,
            f"image_size must be (height, width), each from 32 to {LARGEST_SIDE} pixels, got "
            f"{self.image_size}",
        )
        _require(
            self.branches in (("local",), ("context",), BRANCHES),
            f'branches must be ["local"], ["context"] or ["local", "context"], in this order, '
            f"got {list(self.branches)}",
        )
        _require(
            len(self.consensus_kernels) == len(self.consensus_channels) > 0,
            "consensus_kernels and consensus_channels must name the same number of layers, got "
            f"{self.consensus_kernels} and {self.consensus_channels}",
        )
        _require(
            all(k > 0 and k % 2 for k in self.consensus_kernels),
            f"consensus_kernels must be odd, got {self.consensus_kernels}",
        )
        _require(
            min(self.consensus_channels) > 0 and self.consensus_channels[-1] == 1,
            f"consensus_channels must be positive and end in 1, got {self.consensus_channels}",
        )
        _require(
            self.context_kernel > 0 and self.context_kernel % 2 == 1,
            f"context_kernel must be odd, got {self.context_kernel}",
        )
        _require(
            self.context_channels > 0,
            f"context_channels must be positive, got {self.context_channels}",
        )
        _require(self.blend in BLENDS, f"blend must be one of {', '.join(BLENDS)}, got {self.blend}")
        if len(self.branches) == 2:
            _require(
                self.fusion in FUSIONS,
                f"two branches need fusion to be one of {', '.join(FUSIONS)}, got {self.fusion}",
            )
            _require(
                self.fusion not in NOTHING_LEARNT or not self.embedding,
                f"fusion {self.fusion} has nothing to embed the maps for: embedding must be false",
            )
        else:
            _require(
                self.fusion is None and not self.embedding and not self.auxiliary_loss,
                "one branch leaves nothing to fuse: fusion must be null, embedding and "
                "auxiliary_loss false",
            )

    @property
    def welded_to_grid(self) -> bool:
        """Whether the weights fit only one feature grid (the attention layer has 2·h·w inputs)."""
        return self.fusion == "dynamic"

    @property
    def frame_dtype(self) -> str:
        """Type of the network's frames, ``float32`` or ``uint8``; it depends on the backbone."""
        return BACKBONES[self.backbone].frame_dtype

    def replace(self, **changes: Any) -> ModelConfig:
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Without ``adapter_rank`` where there is no adapter, so that earlier versions read it, too."""
        values = dataclasses.asdict(self)
        if not self.adapter_rank:
            del values["adapter_rank"]
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Inverse of :meth:`to_json`. Raises ``ValueError`` for unknown fields or bad values."""
        try:
            values = json.loads(text)
        except RecursionError:
            raise ValueError("the model configuration is nested too deeply") from None
        if not isinstance(values, dict):
            raise ValueError("a model configuration must be a JSON object")
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"unknown fields in the model configuration: {', '.join(unknown)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"a field of the model configuration has a wrong type: {error}") from error


_ONE_BRANCH: dict[str, Any] = {"fusion": None, "embedding": False, "auxiliary_loss": False}

# For a laptop's CPU; sizes chosen by measuring, see docs/tiny.md.
_TINY = ModelConfig(
    backbone="efficientnet-lite0",
    image_size=(256, 256),
    context_kernel=15,
    context_channels=1024,
    consensus_kernels=(3, 3),
    consensus_channels=(2, 1),
    fusion="support",
    embedding=False,
)

# Built by hand, not trained: weights of a plain start (training/starts.py) on features of several levels.
# Better matches, more slowly.
_SMALL = _TINY.replace(
    backbone="efficientnet-lite1-hypercolumn",
    image_size=(352, 352),
    context_channels=120,
    consensus_kernels=(7, 1),
    consensus_channels=(2, 1),
    fusion="average",
    blend="maps",
)

PRESETS: dict[str, ModelConfig] = {
    # The published network, "Baseline+SDA" of Table 4.
    "dccnet": ModelConfig(),
    # Rocco et al., "Neighbourhood Consensus Networks", the baseline of Tables 4 and 5.
    "ncnet": ModelConfig(branches=("local",), **_ONE_BRANCH),
    "baseline-s": ModelConfig(branches=("context",), **_ONE_BRANCH),
    "baseline-sca": ModelConfig(embedding=False),
    "baseline-saa": ModelConfig(fusion="average"),
    "baseline-sd": ModelConfig(auxiliary_loss=False),
    "tiny": _TINY,
    "small": _SMALL,
    # The same with the features of two backbones and more cells: better matches, more slowly.
    "medium": _SMALL.replace(
        backbone="efficientnet-lite1-lite2-hypercolumn", image_size=(384, 384), consensus_kernels=(9, 1)
    ),
}
