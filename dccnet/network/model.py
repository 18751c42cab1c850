"""DCCNet, and by configuration NC-Net and the paper's ablations, top to bottom (Figure 2)."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from dccnet.network.adapter import FeatureAdapter
from dccnet.network.backbone import build_backbone
from dccnet.network.computation import Computation
from dccnet.network.config import ModelConfig
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.context import SpatialContextEncoder
from dccnet.network.correlation import correlate, l2_normalise, mutual_matching
from dccnet.network.fusion import (
    Attention,
    AverageFusion,
    DynamicFusion,
    Scores,
    softmax_scores,
)
from dccnet.network.products import ProductFusion, SupportFusion
from dccnet.network.step import Step

Features = dict[str, Tensor]
"""One feature map ``(B, channels, h, w)`` for each branch: ``local`` (Z), ``context`` (G)."""


class GridMismatchError(ValueError):
    """The images have another feature grid than the one that the attention's weights fit."""


class Matching(NamedTuple):
    """Everything that :meth:`DCCNet.match` computes."""

    scores: Scores
    maps: dict[str, Tensor]
    """Correlation maps after consensus, Cl and Cs, ``(B, 1, hA, wA, hB, wB)`` each."""
    attention: Attention | None
    support: Tensor | None = None
    """``(B, 1)``, of a network that fuses by support: see :class:`FusedScores`."""


class DCCNet(Computation):
    """The network of spec §1, with random weights; ``dccnet.load_checkpoint`` reads trained ones."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.grid = self.backbone.grid(config.image_size)
        """(h, w) in cells, at the configured image size."""
        self.adapter = (
            FeatureAdapter(self.backbone.channels, config.adapter_rank) if config.adapter_rank else None
        )
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
        self.fusion: DynamicFusion | AverageFusion | ProductFusion | SupportFusion | None = None
        if config.fusion == "dynamic":
            self.fusion = DynamicFusion(self.grid, embedding, config.blend)
        elif config.fusion == "average":
            self.fusion = AverageFusion(embedding, config.blend)
        elif config.fusion == "product":
            self.fusion = ProductFusion()
        elif config.fusion == "support":
            self.fusion = SupportFusion()

    @cached_property
    def first_fine_centre(self) -> tuple[float, float]:
        """(y, x) of the first fine feature in a frame, in pixels; for a backbone that has them."""
        return self.backbone.first_fine_centre(self.config.image_size)

    @property
    def embedding(self) -> NeighbourhoodConsensus | None:
        """The correlation embedding network (Eq. 12), which belongs to the fusion."""
        return None if self.fusion is None else self.fusion.embedding

    def _consensus(self) -> NeighbourhoodConsensus:
        return NeighbourhoodConsensus(self.config.consensus_kernels, self.config.consensus_channels)

    def forward(self, image_a: Tensor, image_b: Tensor) -> Matching:
        """Images ``(B, 3, H, W)``, RGB in [0, 1], at the network's size."""
        return self.match(self.encode(image_a), self.encode(image_b))

    def encode(self, image: Tensor) -> Features:
        """``(B, 3, H, W)``, RGB in [0, 1] -> features of every branch.

        Raises :class:`GridMismatchError` where the attention's weights do not fit the image's size.
        """
        return self.branch_features(self.backbone_features(image))

    def encode_finely(self, image: Tensor) -> tuple[Features, Tensor]:
        """:meth:`encode`, and the fine features of :mod:`dccnet.network.fine_features`.

        Raises also ``ValueError`` for a backbone that has none.
        """
        self._check_image(image)
        features, fine = self.backbone.with_fine_features(image)
        return self.branch_features(self._finished(features)), fine

    def backbone_features(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)``, RGB in [0, 1] -> Z ``(B, d, h, w)``, of unit length in each cell.

        Raises :class:`GridMismatchError` as :meth:`encode` does.
        """
        return self.local_features(self.frozen_features(image))

    def frozen_features(self, image: Tensor) -> Tensor:
        """The first part of :meth:`backbone_features`, which training never changes."""
        self._check_image(image)
        return self.backbone.frozen_part(image)

    def local_features(self, x: Tensor) -> Tensor:
        """:meth:`frozen_features` -> Z: the backbone's trained blocks and the adapter, if any; L2 norm."""
        return self._finished(self.backbone.trained_part(x))

    def _finished(self, features: Tensor) -> Tensor:
        z: Tensor = self.l2_norm(features).to(features)
        if self.adapter is not None:
            z = self.l2_norm(self.adapter(z)).to(features)
        return z

    def branch_features(self, z: Tensor) -> Features:
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
        fused = self.fusion([maps["local"], maps["context"]])
        return Matching(fused.scores, maps, fused.attention, fused.support)

    def _check_image(self, image: Tensor) -> None:
        if self.config.welded_to_grid:
            self._check_grid(self.backbone.grid((image.shape[-2], image.shape[-1])))

    def _check_grid(self, grid: tuple[int, ...]) -> None:
        if grid != self.grid:
            height, width = self.config.image_size
            raise GridMismatchError(
                f"this network was trained at {height}x{width} pixels (a {self.grid[0]}x{self.grid[1]} "
                f"feature grid) and its fusion layer fits no other; these images give "
                f"{grid[0]}x{grid[1]} cells: resize them to {height}x{width}, or train at that size"
            )
