"""Matching in PyTorch: the reference that exported graphs are compared with."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccnet.network.backbone import BACKBONES
from dccnet.network.config import ModelConfig
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.conv4d.direct import is_available
from dccnet.network.fine_features import FINE_STRIDE
from dccnet.network.fusion import Scores, softmax_scores
from dccnet.network.matching import best_matches
from dccnet.network.model import DCCNet, Features, Matching
from dccnet.network.score_windows import score_windows
from dccnet.runtime.arrays import Array, Image
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.geometry import Size
from dccnet.runtime.manifest import FINE, FineGrid
from dccnet.runtime.refinement import FineFeatures
from dccnet.runtime.score_maps import ScoreMaps


def frame_format(config: ModelConfig) -> FrameFormat:
    """The frames that the network was trained on, which its exported encoder takes."""
    return FrameFormat(config.image_size, config.frame_dtype)


def to_tensor(frame: Array) -> Tensor:
    """``(H, W, 3)`` BGR from 0 to 255, uint8 or float32 -> ``(1, 3, H, W)`` float32 RGB in [0, 1]."""
    rgb = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1))
    return torch.from_numpy(rgb)[None].float() / 255


def with_refinement(model: DCCNet, asked: bool | None) -> bool:
    """Whether matches are refined: as ``asked``; for None, where fine features were measured.

    Raises ``ValueError`` where it is asked for and the backbone has no fine features.
    """
    if asked and not model.backbone.has_fine_features:
        raise ValueError(f"the backbone {model.config.backbone} has no fine features")
    return BACKBONES[model.config.backbone].refines if asked is None else asked


class TorchMatcher:
    """Matches pictures with a network in PyTorch, as ``Matcher`` does with a bundle.

    On a GPU where ``direct`` can run, it computes the network's 4D convolutions. As with every other
    convolution there, float32 then means TF32 unless ``torch.backends.cudnn.allow_tf32`` is False.
    """

    def __init__(self, model: DCCNet, device: str = "cpu", refine: bool | None = None) -> None:
        """``refine`` is that of ``Matcher.open``; by default, as in an export with default options.

        Raises ``ValueError`` for ``refine`` with a backbone that has no fine features.
        """
        self.model = model.eval().to(device)
        self.device = device
        self.refines = with_refinement(model, refine)
        if is_available(torch.device(device)):
            self.model.lower(TRAINING_LOWERINGS["direct"])

    @torch.no_grad()
    def encode(self, image: Image) -> tuple[Features, Size]:
        """A picture ``(H, W, 3)`` uint8 BGR of any size -> its features and (height, width).

        Where matches are refined, fine features are among them.
        """
        frame = to_tensor(frame_format(self.model.config).of(image)).to(self.device)
        size = image.shape[0], image.shape[1]
        if not self.refines:
            return self.model.encode(frame), size
        features, fine = self.model.encode_finely(frame)
        return features | {FINE: fine}, size

    def match(self, a: Image, b: Image, *, heatmaps: bool = False) -> Correspondences:
        return self.match_encoded(self.encode(a), self.encode(b), heatmaps=heatmaps)

    def match_encoded(
        self, a: tuple[Features, Size], b: tuple[Features, Size], *, heatmaps: bool = False
    ) -> Correspondences:
        """:meth:`match` of two pictures that :meth:`encode` returned."""
        (features_a, size_a), (features_b, size_b) = a, b
        return match_features(self.model, features_a, features_b, size_a, size_b, heatmaps=heatmaps)


@torch.no_grad()
def match_features(
    model: DCCNet, a: Features, b: Features, size_a: Size, size_b: Size, *, heatmaps: bool = False
) -> Correspondences:
    """Correspondences of one pair of encoded pictures; sizes are (height, width) in pixels.

    They are refined if both pictures' features include fine ones. ``heatmaps`` adds all scores and, for a
    network with two branches, those of each branch alone.
    """
    matching = model.match(*({branch: f[branch] for branch in model.config.branches} for f in (a, b)))
    scores = matching.scores
    found = to_correspondences(scores, model.grid, model.grid, size_a, size_b)
    if matching.support is not None:
        found = dataclasses.replace(found, support=float(matching.support[0, 0]))
    if FINE in a and FINE in b:
        fine_a, fine_b = (_fine(model, features[FINE]) for features in (a, b))
        found = dataclasses.replace(found, fine_a=fine_a, fine_b=fine_b)
    if not heatmaps:
        return found
    heatmap_a, heatmap_b = _heatmaps(scores, model.grid)
    maps = _maps(matching, model.grid) if len(matching.maps) > 1 else None
    return dataclasses.replace(found, heatmap_a=heatmap_a, heatmap_b=heatmap_b, maps=maps)


def to_correspondences(
    scores: Scores, grid_a: Size, grid_b: Size, size_a: Size, size_b: Size
) -> Correspondences:
    """Best matches and their windows, from the scores of one pair.

    Grids are (height, width) in cells, sizes (height, width) in pixels.
    """
    matches = best_matches(scores)
    window_a, window_b = score_windows(scores, matches, grid_a, grid_b)
    return Correspondences(
        size_a,
        size_b,
        index_a=matches.index_a[0].reshape(grid_a).cpu().numpy(),
        score_a=matches.score_a[0].reshape(grid_a).cpu().numpy(),
        index_b=matches.index_b[0].reshape(grid_b).cpu().numpy(),
        score_b=matches.score_b[0].reshape(grid_b).cpu().numpy(),
        window_a=window_a[0].reshape(*grid_a, -1).cpu().numpy(),
        window_b=window_b[0].reshape(*grid_b, -1).cpu().numpy(),
    )


def fine_grid(model: DCCNet) -> FineGrid:
    """Where the network's fine features lie in a frame."""
    return FineGrid(FINE_STRIDE, model.first_fine_centre)


def _fine(model: DCCNet, values: Tensor) -> FineFeatures:
    return FineFeatures.in_frame(values[0].cpu().numpy(), fine_grid(model), model.config.image_size)


def _heatmaps(scores: Scores, grid: Size) -> list[NDArray[np.float32]]:
    """Scores of the first pair: of A's cells over B's, and of B's over A's."""
    return [side.reshape(*grid, *grid).cpu().numpy() for side in (scores.on_a[0], scores.on_b[0].T)]


def _maps(matching: Matching, grid: Size) -> ScoreMaps:
    arrays: dict[str, NDArray[np.float32]] = {}
    for branch, correlation in matching.maps.items():
        both = _heatmaps(softmax_scores(correlation), grid)
        arrays |= {f"heatmap_{branch}_{side}": array for side, array in zip("ab", both, strict=True)}
    for side, weights in zip("ab", matching.attention or (), strict=False):
        arrays[f"attention_{side}"] = weights[0].cpu().numpy()
    return ScoreMaps(**arrays)
