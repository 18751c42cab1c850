"""The runtime's ``Matcher``, computed by PyTorch: the reference that exported graphs are held against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dccnet.matching import best_matches
from dccnet.model import DCCNet, Features
from runtime.correspondences import Correspondences
from runtime.geometry import Size, resize_uint8
from runtime.images import Image


def to_tensor(frame: Image) -> Tensor:
    """``(H, W, 3)`` uint8 BGR -> ``(1, 3, H, W)`` float32 RGB in [0, 1]."""
    rgb = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1))
    return torch.from_numpy(rgb)[None].float() / 255


class TorchMatcher:
    """Matches pictures with a network in PyTorch, as :class:`runtime.Matcher` does with a bundle."""

    def __init__(self, model: DCCNet, device: str = "cpu") -> None:
        self.model = model.eval().to(device)
        self.device = device

    @torch.no_grad()
    def encode(self, image: Image) -> tuple[Features, Size]:
        """A picture ``(H, W, 3)`` uint8 BGR of any size -> its features and (height, width)."""
        frame = resize_uint8(image, self.model.config.image_size)
        return self.model.encode(to_tensor(frame).to(self.device)), (image.shape[0], image.shape[1])

    def match(self, a: Image, b: Image, *, heatmaps: bool = False) -> Correspondences:
        (features_a, size_a), (features_b, size_b) = self.encode(a), self.encode(b)
        return match_features(self.model, features_a, features_b, size_a, size_b, heatmaps=heatmaps)


@torch.no_grad()
def match_features(
    model: DCCNet, a: Features, b: Features, size_a: Size, size_b: Size, *, heatmaps: bool = False
) -> Correspondences:
    """Correspondences of one pair of encoded pictures, sizes (height, width) in pixels."""
    scores = model.match(a, b).scores
    matches = best_matches(scores)
    index_a, score_a, index_b, score_b = (m[0].reshape(model.grid).cpu().numpy() for m in matches)
    all_scores = {}
    if heatmaps:
        for name, side in (("heatmap_a", scores.on_a[0]), ("heatmap_b", scores.on_b[0].T)):
            all_scores[name] = side.reshape(*model.grid, *model.grid).cpu().numpy()
    return Correspondences(size_a, size_b, index_a, score_a, index_b, score_b, **all_scores)
