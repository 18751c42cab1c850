"""DCCNet, and by configuration NC-Net and the paper's ablations, top to bottom."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dccnet.network.backbone import build_backbone
from dccnet.network.config import ModelConfig
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.context import SpatialContextEncoder
from dccnet.network.conv4d import Lowering
from dccnet.network.correlation import correlate, l2_normalise, mutual_matching
from dccnet.network.fusion import Attention, AverageFusion, DynamicFusion, Scores, softmax_scores
from dccnet.network.step import Step

Features = dict[str, Tensor]
"""One feature map ``(B, channels, h, w)`` for each branch: ``local`` (Z), ``context`` (G)."""


class GridMismatchError(ValueError):
    """The weights are welded to a feature grid that these images do not have."""


class Matching(NamedTuple):
    """Everything that :meth:`DCCNet.match` computes."""

    scores: Scores
    maps: dict[str, Tensor]
    """Correlation maps after consensus, Cl and Cs, ``(B, 1, hA, wA, hB, wB)`` each."""
    attention: Attention | None


class DCCNet(nn.Module):
    """The network of spec §1. Build with random weights, or take one from :mod:`dccnet.weights`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.grid = self.backbone.grid(config.image_size)
        """(h, w) in cells, at the configured image size."""
        self.context_encoder = (
            SpatialContextEncoder(self.backbone.channels, config.context_kernel, config.context_channels)
            if "context" in config.branches
            else None
        )
        self.l2_norm = Step(l2_normalise)
        self.correlation = Step(correlate)
        self.mutual_matching = Step(mutual_matching)
        self.softmax = Step(softmax_scores)
        self.consensus = self._consensus()
        embedding = self._consensus() if config.embedding else None
        self.fusion: DynamicFusion | AverageFusion | None = None
        if config.fusion == "dynamic":
            self.fusion = DynamicFusion(self.grid, embedding, config.blend)
        elif config.fusion == "average":
            self.fusion = AverageFusion(embedding, config.blend)

    def _consensus(self) -> NeighbourhoodConsensus:
        return NeighbourhoodConsensus(self.config.consensus_kernels, self.config.consensus_channels)

    def lower(self, lowering: Lowering) -> None:
        """Choose how 4D convolutions are computed: a value of :data:`TRAINING_LOWERINGS`.

        Every choice gives the same results up to rounding; checkpoints do not know of it.
        """
        for module in self.modules():
            if isinstance(module, NeighbourhoodConsensus):
                module.lowering = lowering

    def start_both_ways(self) -> None:
        """:meth:`NeighbourhoodConsensus.start_both_ways` of all 4D networks, before they are trained."""
        for module in self.modules():
            if isinstance(module, NeighbourhoodConsensus):
                module.start_both_ways()

    def start_plain(self, both_ways: bool) -> None:
        """Before training: begin with what needs none, where there is such a thing.

        Context features are Z and S side by side (:meth:`SpatialContextEncoder.start_plain`), consensus
        counts votes (:meth:`NeighbourhoodConsensus.start_voting`), with ``both_ways`` also of things that
        face opposite ways, and the fusion trusts both maps alike.
        Raises ``ValueError`` for too few channels.
        """
        if self.context_encoder is not None:
            self.context_encoder.start_plain(both_ways)
        self.consensus.start_voting(both_ways)
        if isinstance(self.fusion, DynamicFusion):
            self.fusion.start_even()

    def checkpoint_activations(self, on: bool | None) -> None:
        """Whether training recomputes the 4D layers instead of keeping what they gave: less memory for a
        third more time. None decides by the size of the volumes."""
        for module in self.modules():
            if isinstance(module, NeighbourhoodConsensus):
                module.checkpointing = on

    @property
    def feature_dtype(self) -> torch.dtype:
        """Of the features that :meth:`encode` returns: float16 after :meth:`in_half`."""
        return next(self.backbone.trunk.parameters()).dtype

    def in_half(self) -> DCCNet:
        """A copy for inference that runs in float16, except for the islands of ``precision.py``."""
        half = copy.deepcopy(self).eval()
        half.backbone.fold_batch_norms()
        half.backbone.trunk.half()
        for part in (half.context_encoder, half.consensus, half.fusion):
            if part is not None:
                part.half()
        return half

    def forward(self, image_a: Tensor, image_b: Tensor) -> Matching:
        """Images ``(B, 3, H, W)``, RGB in [0, 1], at the network's size."""
        return self.match(self.encode(image_a), self.encode(image_b))

    def encode(self, image: Tensor) -> Features:
        """``(B, 3, H, W)``, RGB in [0, 1] -> features of every branch.

        Raises :class:`GridMismatchError` where the weights are welded to another image size.
        """
        return self.describe(self.extract(image))

    def extract(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)``, RGB in [0, 1] -> Z ``(B, d, h, w)``, of unit length in each cell.

        Raises :class:`GridMismatchError` as :meth:`encode` does.
        """
        return self.finish(self.begin(image))

    def begin(self, image: Tensor) -> Tensor:
        """The part of :meth:`extract` that training never changes; :meth:`finish` takes its result."""
        if self.config.welded_to_grid:
            self._check_grid(self.backbone.grid((image.shape[-2], image.shape[-1])))
        return self.backbone.frozen_part(image)

    def finish(self, x: Tensor) -> Tensor:
        """The rest of :meth:`extract`: blocks of the backbone that are trained, if any, and the L2 norm."""
        features: Tensor = self.backbone.trained_part(x)
        normalised: Tensor = self.l2_norm(features)
        return normalised.to(features)

    def describe(self, z: Tensor) -> Features:
        """Normalised backbone features ``Z (B, d, h, w)`` -> features of every branch."""
        features = {"local": z}
        if self.context_encoder is not None:
            features["context"] = self.context_encoder(z)
        return {branch: features[branch] for branch in self.config.branches}

    def match(self, a: Features, b: Features) -> Matching:
        """Features of image A and of image B -> scores of all matches."""
        if self.config.welded_to_grid:
            for features in (a, b):
                self._check_grid(tuple(features["local"].shape[-2:]))
        correlations = [self.mutual_matching(self.correlation(a[branch], b[branch])) for branch in a]
        maps = {
            branch: self.mutual_matching(c)
            for branch, c in zip(a, self.consensus(correlations), strict=True)
        }
        if self.fusion is None:
            (only,) = maps.values()
            return Matching(self.softmax(only), maps, None)
        scores, attention = self.fusion([maps["local"], maps["context"]])
        return Matching(scores, maps, attention)

    def _check_grid(self, grid: tuple[int, ...]) -> None:
        if grid != self.grid:
            height, width = self.config.image_size
            raise GridMismatchError(
                f"this network was trained at {height}x{width} pixels (a {self.grid[0]}x{self.grid[1]} "
                f"feature grid) and its fusion layer fits no other; these images give "
                f"{grid[0]}x{grid[1]} cells: resize them to {height}x{width}, or train at that size"
            )
