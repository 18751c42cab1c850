"""The two graphs of a bundle, as modules around the network's own parts.

Two, because a picture that is matched many times (a reference in a video) is encoded once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dccnet.fusion import Scores
from dccnet.matching import best_matches
from dccnet.model import DCCNet, Features


class EncoderGraph(nn.Module):
    """Frames as OpenCV has them -> features of every branch.

    Colour order, scaling and normalisation happen here, so that no caller can get them wrong.
    """

    def __init__(self, model: DCCNet) -> None:
        super().__init__()
        self.model = model
        self.input_names = ["frame"]
        self.output_names = list(model.config.branches)

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """``(B, H, W, 3)`` uint8 BGR -> ``(B, C, h, w)`` for each branch, in the network's precision."""
        rgb = frame.float().permute(0, 3, 1, 2).flip(1)  # first the cast: TensorRT moves no uint8
        return tuple(self.model.encode(rgb / 255).values())

    def example(self) -> dict[str, Tensor]:
        height, width = self.model.config.image_size
        return {"frame": torch.zeros(2, height, width, 3, dtype=torch.uint8)}


class MatcherGraph(nn.Module):
    """Features of A and B -> for every cell its best match and the score, both ways.

    With ``heatmaps``, all scores as well: ``(B, cells, cells)``, the cell itself first.
    """

    def __init__(self, model: DCCNet, heatmaps: bool) -> None:
        super().__init__()
        self.model = model
        self.heatmaps = heatmaps
        branches = model.config.branches
        self.input_names = [f"{name}_{side}" for side in "ab" for name in branches]
        self.output_names = ["index_a", "score_a", "index_b", "score_b"]
        if heatmaps:
            self.output_names += ["heatmap_a", "heatmap_b"]

    def forward(self, a: Features, b: Features) -> tuple[Tensor, ...]:
        """``(B, C, h, w)`` for each branch of A and of B, as the encoder returns them."""
        scores: Scores = self.model.match(a, b).scores
        outputs: tuple[Tensor, ...] = best_matches(scores)
        if self.heatmaps:
            outputs = (*outputs, scores.on_a, scores.on_b.transpose(1, 2))
        return tuple(outputs)

    def example(self) -> dict[str, Features]:
        config = self.model.config
        channels = {"local": self.model.backbone.channels, "context": config.context_channels}
        return {
            side: {
                name: torch.zeros(2, channels[name], *self.model.grid, dtype=self.model.feature_dtype)
                for name in config.branches
            }
            for side in "ab"
        }
