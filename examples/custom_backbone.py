"""A network with a backbone of your own: any trunk whose features lie at stride 16.

python custom_backbone.py A B

Here MobileNetV3 (torchvision) up to stride 16, with random weights: load your own before you match in
earnest. A program that trains or exports such a network registers the backbone before it loads it, too.
"""

import sys

import torch
from torch import nn

from dccnet import DCCNet, ModelConfig, read_image
from dccnet.inference import TorchMatcher
from dccnet.network.backbone import BACKBONES, IMAGENET, BackboneSpec
from dccnet.training.starts import start_plain


def mobilenet() -> nn.Sequential:
    from torchvision import models

    return nn.Sequential(models.mobilenet_v3_large(weights=None).features[:13])  # 112 channels


BACKBONES["mobilenet_v3"] = BackboneSpec(112, IMAGENET, mobilenet, rounds_up=True)


def main(a: str, b: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        backbone="mobilenet_v3",
        image_size=(160, 160),
        context_kernel=5,
        context_channels=32,
        consensus_kernels=(3, 3),
        consensus_channels=(4, 1),
        fusion="product",
        embedding=False,
    )
    model = DCCNet(config).eval()
    start_plain(model, both_ways=False)  # consensus that counts votes of neighbours, without training
    result = TorchMatcher(model).match(read_image(a), read_image(b))
    print(f"{config.backbone}: {len(result.mutual())} of {result.index_a.size} cells match mutually")


if __name__ == "__main__":
    main(*sys.argv[1:])
