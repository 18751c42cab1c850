"""Frozen image features at stride 16, with the input normalisation of each backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dccnet.network.correlation import l2_normalise
from dccnet.network.efficientnet_lite import efficientnet_lite, efficientnet_lite_trunk
from dccnet.network.fine_features import fine_features, first_centre
from dccnet.network.precision import as_weights_of, float32_island
from dccnet.network.step import Step

STRIDE = 16


class Normalisation(NamedTuple):
    """``(x - mean) / std`` for x in [0, 1], RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# TensorFlow's (x - 127) / 128 for x in [0, 255].
CENTRED = Normalisation((127 / 255,) * 3, (128 / 255,) * 3)


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    channels: int
    normalisation: Normalisation
    build: Callable[[], nn.Sequential]
    rounds_up: bool
    """Whether a side that is not a multiple of 16 makes one more cell (padded strides) or not (VGG)."""
    frame_dtype: str = "float32"
    """Type of the frames: the authors resize pictures in floating point; the small networks, whose frames
    are rounded to whole grey levels, take ``uint8``, a quarter of the bytes."""
    levels: tuple[str, ...] = ()
    """Parts of the trunk whose outputs form a hypercolumn, the first at stride 16; empty: the last part."""
    fine: str = ""
    """Part of the trunk whose output, at stride 4, has the fine features; empty: there are none."""
    refines: bool = False
    """Whether fine features were measured to place matches better (docs/tiny.md)."""
    beside: str = ""
    """Another backbone, whose features follow this one's own; empty: there is none."""
    share: float = 0.0
    """Of similarities, the part that comes from the features of the other backbone."""


def _resnet(name: str) -> Callable[[], nn.Sequential]:
    def build() -> nn.Sequential:
        from torchvision import models

        net = getattr(models, name)(weights=None)
        parts = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        trunk = nn.Sequential()
        for part in parts:  # torchvision's names, so that its files load unchanged
            trunk.add_module(part, getattr(net, part))
        return trunk

    return build


def _vgg16() -> nn.Sequential:
    from torchvision import models

    trunk = nn.Sequential()
    trunk.add_module("features", models.vgg16(weights=None).features[:24])  # up to pool4
    return trunk


def _lite(size: str, channels: int, *levels: str) -> BackboneSpec:
    return BackboneSpec(
        channels,
        CENTRED,
        partial(efficientnet_lite if levels else efficientnet_lite_trunk, size),
        rounds_up=True,
        frame_dtype="uint8",
        levels=levels,
        fine="block2",
        refines=size != "lite2",  # which has not been measured
    )


BACKBONES: dict[str, BackboneSpec] = {
    "resnet101": BackboneSpec(1024, IMAGENET, _resnet("resnet101"), rounds_up=True, fine="maxpool"),
    "resnet50": BackboneSpec(1024, IMAGENET, _resnet("resnet50"), rounds_up=True, fine="maxpool"),
    "resnet18": BackboneSpec(256, IMAGENET, _resnet("resnet18"), rounds_up=True, fine="maxpool"),
    "vgg16": BackboneSpec(512, IMAGENET, _vgg16, rounds_up=False, fine="features.9"),
    "efficientnet-lite0": _lite("lite0", 112),
    "efficientnet-lite1": _lite("lite1", 112),
    "efficientnet-lite2": _lite("lite2", 120),
    # Features at stride 32 recognise kinds of things, whichever way they face. Levels were chosen by
    # measuring, see docs/tiny.md.
    "efficientnet-lite0-hypercolumn": _lite("lite0", 112 + 192 + 320, "block10", "block14", "block15"),
    "efficientnet-lite1-hypercolumn": _lite(
        "lite1", 2 * 112 + 192 + 320, "block13", "block14", "block19", "block20"
    ),
    "efficientnet-lite2-hypercolumn": _lite(
        "lite2", 2 * 120 + 2 * 208, "block13", "block14", "block17", "block19"
    ),
}
BACKBONES["efficientnet-lite1-lite2-hypercolumn"] = replace(
    BACKBONES["efficientnet-lite1-hypercolumn"],
    channels=sum(BACKBONES[f"efficientnet-{size}-hypercolumn"].channels for size in ("lite1", "lite2")),
    beside="efficientnet-lite2-hypercolumn",
    share=0.4,
)


@float32_island
def hypercolumn(finest: Tensor, *coarser: Tensor) -> Tensor:
    """Features of several levels side by side (Hariharan et al. 2015), with equal weight.

    Each level is resized to the grid of the first (bilinear, corners aligned); its mean over the picture,
    which is common to all cells, is subtracted; and each cell is normalised to unit length. Levels are
    ``(B, d_i, h_i, w_i)``; returns ``(B, sum of d_i, h_0, w_0)``.
    """
    grid = finest.shape[-2:]
    levels = [finest, *(F.interpolate(x, size=grid, mode="bilinear", align_corners=True) for x in coarser)]
    return torch.cat([l2_normalise(x - x.mean(dim=(2, 3), keepdim=True)) for x in levels], dim=1)


@float32_island
def side_by_side(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Features of two backbones ``(B, c, h, w)``, ``(B, d, h, w)`` -> ``(B, c + d, h, w)``.

    A dot product of the result is the mean of those of both, each normalised, with weight ``share`` for
    the second.
    """
    return torch.cat([(1 - share) ** 0.5 * l2_normalise(first), share**0.5 * l2_normalise(second)], dim=1)


class Backbone(nn.Module):
    """The frozen trunk, always in eval mode, BatchNorm statistics included (spec §1.2).

    :meth:`unfreeze` lets the last blocks be trained; batch norm statistics stay frozen.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.channels = spec.channels
        self._rounds_up = spec.rounds_up
        self.trunk = spec.build()
        self.beside = Backbone(BACKBONES[spec.beside]) if spec.beside else None
        self.side_by_side = Step(side_by_side)
        self._share = spec.share
        self._levels, self._fine = spec.levels, spec.fine
        self.hypercolumn = Step(hypercolumn)
        self.fine_features = Step(fine_features)
        self.register_buffer("mean", torch.tensor(spec.normalisation.mean).view(3, 1, 1), False)
        self.register_buffer("std", torch.tensor(spec.normalisation.std).view(3, 1, 1), False)
        self._trained = 0
        self.requires_grad_(False)
        self.train(False)

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Feature cells (h, w) of an image of (height, width) pixels."""
        extra = STRIDE - 1 if self._rounds_up else 0
        return (image_size[0] + extra) // STRIDE, (image_size[1] + extra) // STRIDE

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)``, RGB in [0, 1] -> ``(B, channels, h, w)``, not yet normalised."""
        return self.trained_part(self.frozen_part(image))

    def frozen_part(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)``, RGB in [0, 1] -> the input of the first trained block, or the features.

        Training never changes this part, so its output can be kept for all epochs.
        """
        before, blocks = self._split()
        x, levels = self._run(image, [*before, *blocks[: len(blocks) - self._trained]], self._levels)
        return self._features(image, x, levels)

    def with_fine_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 3, H, W)``, RGB in [0, 1] -> features as from :meth:`forward`, and fine features.

        The latter are ``(B, c, H/4, W/4)``, rounded up, float16; they cost no more than this tensor.
        Raises ``ValueError`` for a backbone without fine features.
        """
        if not self._fine:
            raise ValueError("this backbone has no fine features")
        before, blocks = self._split()
        x, (fine, *levels) = self._run(image, [*before, *blocks], (self._fine, *self._levels))
        return self._features(image, x, levels), self.fine_features(fine)

    def _features(self, image: Tensor, x: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """A hypercolumn of ``levels``; without any, ``x``. The other backbone's features follow."""
        own = self.hypercolumn(*levels) if levels else x
        if self.beside is not None:
            own = self.side_by_side(own, self.beside(image), self._share)
        return as_weights_of(self.trunk, own)

    @property
    def with_beside(self) -> list[Backbone]:
        """This backbone and, if there is one, the other."""
        return [self] if self.beside is None else [self, *self.beside.with_beside]

    @property
    def has_fine_features(self) -> bool:
        return bool(self._fine)

    def first_fine_centre(self, image_size: tuple[int, int]) -> tuple[float, float]:
        """(y, x) of the first fine feature in a frame of (height, width), in pixels."""
        last = [n for n, _ in self.trunk.named_modules() if f"{n}.".startswith(f"{self._fine}.")][-1]
        layers = []
        for name, module in self.trunk.named_modules():
            layers.append(module)
            if name == last:
                break
        return first_centre(layers, image_size[0]), first_centre(layers, image_size[1])

    def _run(
        self, image: Tensor, blocks: Sequence[nn.Module], names: Sequence[str]
    ) -> tuple[Tensor, list[Tensor]]:
        """The output of ``blocks``, and those of the parts with these names, from early to late."""
        x = as_weights_of(self.trunk, (image - self.mean) / self.std)
        parts = [self.trunk.get_submodule(name) for name in names]
        outputs = []
        for block in blocks:
            x = block(x)
            if block in parts:
                outputs.append(x)
        return x, outputs

    def trained_part(self, x: Tensor) -> Tensor:
        """Output of :meth:`frozen_part` -> features; the identity, unless blocks were unfrozen."""
        _, blocks = self._split()
        for block in blocks[len(blocks) - self._trained :]:
            x = block(x)
        return x

    def unfreeze(self, blocks: int) -> None:
        """Train the last ``blocks`` blocks (of ``layer3`` in a ResNet), as the authors' code can.

        Raises ``ValueError`` where the last stage has fewer blocks, and for hypercolumns.
        """
        _, last = self._split()
        if self._levels and blocks:
            raise ValueError(
                "this backbone combines features of several levels, which cannot be trained: use 0"
            )
        if not 0 <= blocks <= len(last):
            raise ValueError(f"this backbone has {len(last)} blocks that can be trained, not {blocks}")
        self._trained = blocks
        self.requires_grad_(False)
        for block in last[len(last) - blocks :]:
            block.requires_grad_(True)

    def _split(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """Stages before the last, and the blocks of the last; some backbones have only one stage."""
        *stages, last = self.trunk.children()
        return (stages, list(last)) if isinstance(last, nn.Sequential) else ([], [*stages, last])

    @torch.no_grad()
    def settle_norms(self, images: Tensor) -> None:
        """Set every batch norm's statistics to those of ``images (B, 3, H, W)``, RGB in [0, 1].

        For random weights: otherwise the activations of a residual network double from block to block, to
        values that no trained network has and that float16 cannot hold.
        """
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum, norm.training = 1.0, True
        self(images)
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum, norm.training = momentum, False

    def fold_batch_norms(self) -> None:
        """Fold every batch norm into the convolution before it, which changes only rounding.

        In half precision, a convolution's output would otherwise be rounded before the norm scales it.
        """
        for backbone in self.with_beside:
            _fold_batch_norms(backbone.trunk)

    def train(self, mode: bool = True) -> Backbone:
        return super().train(False)


def _fold_batch_norms(module: nn.Module) -> None:
    """Relies on every batch norm being registered right after its convolution, as in all backbones here."""
    previous: tuple[str, nn.Module] | None = None
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            assert previous is not None and isinstance(previous[1], nn.Conv2d)
            setattr(module, previous[0], fuse_conv_bn_eval(previous[1], child))
            setattr(module, name, nn.Identity())
        _fold_batch_norms(child)
        previous = name, child


def build_backbone(name: str) -> Backbone:
    """A backbone with random weights; ``name`` is one of :data:`BACKBONES`."""
    return Backbone(BACKBONES[name])
