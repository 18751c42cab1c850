"""The training loss of a part of a batch, computed from frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dccnet.network.loss import weak_loss
from dccnet.network.model import DCCNet, Features
from dccnet.runtime.arrays import Floats
from dccnet.runtime.geometry import Size
from dccnet.training.batches import Sample
from dccnet.training.features import FeatureCache
from dccnet.training.settings import TrainSettings
from dccnet.training.supervision import Keypoints, keypoint_loss
from dccnet.training.synthetic import normalised

BF16 = "bf16"


class Part(NamedTuple):
    """m consecutive pairs of a batch, as frozen features ``(n, c, h', w')``."""

    sources: Tensor
    """n = m + 1: the source of each pair, then the source of the next pair, which is the last negative."""
    targets: Tensor
    """n = m."""
    keypoints: Keypoints | None
    """Annotated keypoints, if training uses them; pairs without any are left out."""
    views: Tensor | None
    """n = m: warped views of the targets."""
    truth: Keypoints | None
    """Matching points of the targets and their views."""


class Objective(nn.Module):
    """The mean loss over the pairs of a part; means weighted by part size add up to the batch's loss."""

    def __init__(self, model: DCCNet, settings: TrainSettings) -> None:
        super().__init__()
        self.model = model
        self._settings = settings

    def forward(self, part: Part) -> tuple[Tensor, Tensor]:
        """The loss ``()``, and without gradient ``(2,)`` the mean scores of true and mismatched pairs."""
        with torch.autocast(
            part.targets.device.type, torch.bfloat16, enabled=self._settings.precision == BF16
        ):
            sources, target = self._describe(part.sources), self._describe(part.targets)
            source = {branch: x[:-1] for branch, x in sources.items()}
            mismatched = {branch: x[1:] for branch, x in sources.items()}
            weak = weak_loss(self.model, source, target, mismatched, self._settings.branch_weights)
            loss = weak.loss
            if part.keypoints is not None:
                supervised = keypoint_loss(self.model, weak.matching, part.keypoints)
                loss = loss + self._settings.supervised * supervised
            if part.views is not None and part.truth is not None:
                matching = self.model.match(target, self._describe(part.views))
                loss = loss + self._settings.warps * keypoint_loss(self.model, matching, part.truth)
        return loss, torch.stack([weak.positive, weak.negative])

    def _describe(self, x: Tensor) -> Features:
        return self.model.branch_features(self.model.local_features(x))


def gather(samples: Sequence[Sample], features: FeatureCache, settings: TrainSettings, grid: Size) -> Part:
    """The part that consecutive ``samples`` of a batch make; ``grid`` is the network's (h, w) in cells."""
    views = [sample.view for sample in samples if sample.view is not None]
    return Part(
        features.batch([*(sample.source for sample in samples), samples[-1].mismatched]),
        features.batch([sample.pair.target for sample in samples]),
        _keypoints(_annotated(samples, features), features, grid) if settings.supervised > 0 else None,
        features.batch([view.picture for view in views]) if views else None,
        _keypoints([(i, view.truth, view.points) for i, view in enumerate(views)], features, grid),
    )


_Places = tuple[int, Floats, Floats]
"""A pair's index in the part, and matching points in A and in B: ``(N, 2)`` each, (x, y) in [-1, 1]."""


def _annotated(samples: Sequence[Sample], features: FeatureCache) -> list[_Places]:
    """Annotated keypoints of the samples, mirrored where the source is."""
    places: list[_Places] = []
    for i, sample in enumerate(samples):
        pair = sample.pair
        if pair.source_points is None or pair.target_points is None:
            continue
        source = normalised(pair.source_points, features.size(sample.source))
        if sample.mirrored:
            source = source * [-1, 1]
        places.append((i, source, normalised(pair.target_points, features.size(pair.target))))
    return places


def _keypoints(places: Sequence[_Places], features: FeatureCache, grid: Size) -> Keypoints | None:
    """Points in cells of the grid, on the device of the features; None if ``places`` is empty."""
    if not places:
        return None

    def cells(points: Sequence[Floats]) -> Tensor:
        places = torch.from_numpy(np.concatenate(points)).float().to(features.device)
        return (places + 1) / 2 * places.new_tensor([grid[1] - 1, grid[0] - 1])

    pair = np.repeat([i for i, _, _ in places], [len(points) for _, points, _ in places])
    return Keypoints(
        torch.from_numpy(pair).to(features.device),
        cells([source for _, source, _ in places]),
        cells([b for _, _, b in places]),
    )
