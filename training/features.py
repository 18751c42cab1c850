"""Features of the frozen backbone, computed once for each picture and kept while memory allows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dccnet.inference import match_features, to_tensor
from dccnet.model import DCCNet
from evaluation.baseline import nearest_neighbour
from evaluation.pairs import Pair, Picture
from runtime.correspondences import Correspondences
from runtime.geometry import Size, resize_uint8


class FeatureCache:
    """Z of pictures. Beyond ``budget`` bytes it computes without keeping."""

    def __init__(self, model: DCCNet, budget: int) -> None:
        self._model = model
        self._left = budget
        self._kept: dict[str, tuple[Tensor, Size]] = {}

    def features_and_size(self, picture: Picture) -> tuple[Tensor, Size]:
        """Z ``(1, d, h, w)``, and (height, width) in pixels of the original picture."""
        if picture.key in self._kept:
            return self._kept[picture.key]
        image = picture.load()
        frame = resize_uint8(image, self._model.config.image_size)
        with torch.no_grad():
            z = self._model.extract(to_tensor(frame))
        entry = (z, (image.shape[0], image.shape[1]))
        if z.nbytes <= self._left:
            self._left -= z.nbytes
            self._kept[picture.key] = entry
        return entry

    def match(self, pair: Pair) -> Correspondences:
        """The network's matches of source (A) and target (B)."""
        (a, size_a), (b, size_b) = self._both(pair)
        with torch.no_grad():
            source, target = self._model.describe(a), self._model.describe(b)
        return match_features(self._model, source, target, size_a, size_b)

    def nearest_neighbour(self, pair: Pair) -> Correspondences:
        """What the backbone's features alone say of source (A) and target (B)."""
        (a, size_a), (b, size_b) = self._both(pair)
        return nearest_neighbour(a, b, size_a, size_b)

    def _both(self, pair: Pair) -> tuple[tuple[Tensor, Size], tuple[Tensor, Size]]:
        return self.features_and_size(pair.source), self.features_and_size(pair.target)

    def batch(self, pictures: Sequence[Picture]) -> Tensor:
        """Z ``(B, d, h, w)``."""
        return torch.cat([self.features_and_size(picture)[0] for picture in pictures])
