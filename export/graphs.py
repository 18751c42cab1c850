"""The two graphs of a bundle, as modules around the parts of the network.

There are two, so that a picture that is matched many times (a reference in a video) is encoded only once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dccnet.network.fusion import DynamicFusion, Scores, softmax_scores
from dccnet.network.matching import best_matches
from dccnet.network.model import DCCNet, Features
from dccnet.network.products import SupportFusion
from dccnet.network.score_windows import score_windows
from dccnet.runtime.manifest import FINE, SUPPORT


class EncoderGraph(nn.Module):
    """Encodes frames as OpenCV reads them into the features of every branch.

    The graph itself changes colour order, scales and normalises, so that no caller can get these wrong.
    ``fine`` adds the fine features, ``(B, C, H/4, W/4)`` float16, which the matcher does not take.
    """

    def __init__(self, model: DCCNet, fine: bool = False) -> None:
        super().__init__()
        self.model = model
        self.fine = fine
        self.input_names = ["frame"]
        self.output_names = [*model.config.branches, *([FINE] if fine else [])]

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """``(B, H, W, 3)`` BGR from 0 to 255 -> ``(B, C, h, w)`` for each branch, and fine features.

        Frames have the type ``ModelConfig.frame_dtype``, features the network's precision.
        """
        # The cast comes first: TensorRT cannot transpose uint8.
        rgb = frame.float().permute(0, 3, 1, 2).flip(1)
        if not self.fine:
            return tuple(self.model.encode(rgb / 255).values())
        features, fine = self.model.encode_finely(rgb / 255)
        return *features.values(), fine

    def example(self) -> dict[str, Tensor]:
        height, width = self.model.config.image_size
        return {
            "frame": torch.zeros(2, height, width, 3, dtype=getattr(torch, self.model.config.frame_dtype))
        }


class MatcherGraph(nn.Module):
    """Matches features of pictures A and B: the best match of every cell, its score, and the scores of a
    small window around it, ``(B, cells, 25)``, in both directions. A network that fuses by support also
    returns that of the local map, ``(B, 1)``, by which ``--mirror auto`` decides.

    ``heatmaps`` adds the scores of all pairs of cells, ``(B, cells, cells)``, in which the first axis of
    cells is that of the picture in the output's name. ``maps`` includes ``heatmaps`` and adds the scores of
    each branch alone, of the same shape, and the attention that weights the branches, ``(B, 2, cells)``
    (local, context).
    """

    def __init__(self, model: DCCNet, heatmaps: bool, maps: bool = False) -> None:
        super().__init__()
        self.model = model
        self.heatmaps = heatmaps or maps
        self.maps = maps
        branches = model.config.branches
        self.input_names = [f"{name}_{side}" for side in "ab" for name in branches]
        self.output_names = ["index_a", "score_a", "index_b", "score_b", "window_a", "window_b"]
        if isinstance(model.fusion, SupportFusion):
            self.output_names.append(SUPPORT)
        if self.heatmaps:
            self.output_names += ["heatmap_a", "heatmap_b"]
        if maps:
            self.output_names += [f"heatmap_{name}_{side}" for name in branches for side in "ab"]
            if isinstance(model.fusion, DynamicFusion | SupportFusion):
                self.output_names += ["attention_a", "attention_b"]

    def forward(self, a: Features, b: Features) -> tuple[Tensor, ...]:
        """Features ``(B, C, h, w)`` of each branch, as the encoder returns them -> outputs by
        ``output_names``."""
        matching = self.model.match(a, b)
        matches, grid = best_matches(matching.scores), self.model.grid
        outputs: list[Tensor] = [*matches, *score_windows(matching.scores, matches, grid, grid)]
        if matching.support is not None:
            outputs.append(matching.support)
        if self.heatmaps:
            outputs += _from_either_side(matching.scores)
        if self.maps:
            for correlation in matching.maps.values():
                outputs += _from_either_side(softmax_scores(correlation))
            if matching.attention is not None:
                outputs += [weights.flatten(2) for weights in matching.attention]
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


def _from_either_side(scores: Scores) -> list[Tensor]:
    """Scores of the cells of A over those of B, and of B over A, each ``(B, cells, cells)``."""
    return [scores.on_a, scores.on_b.transpose(1, 2)]
