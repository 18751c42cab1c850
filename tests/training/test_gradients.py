"""Training is the authors' to the gradient: the trainer takes the steps that their method defines."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dccnet.evaluation.pairs import Pair, Picture
from dccnet.network.config import ModelConfig
from dccnet.network.context import SpatialContextEncoder
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime.geometry import Size
from dccnet.training.features import FeatureCache
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.state import Progress
from dccnet.training.trainer import Trainer
from dccnet.training.validation import Validation
from tests.helpers import plain_dccnet as plain
from tests.helpers.networks import ABLATIONS

CHANNELS, KERNEL, STEPS, BATCH, RATE = 6, 3, 5, 3, 5e-4
TOLERANCE = 1e-8
SIZES = ModelConfig(
    backbone="resnet18",
    image_size=(64, 48),
    context_kernel=KERNEL,
    context_channels=7,
    consensus_kernels=(3, 3),
    consensus_channels=(3, 1),
)
"""4x3 cells."""


def test_the_plain_network_is_the_authors(golden: dict[str, Tensor]) -> None:
    names = {"context_encoder.embed": ("context_w", "context_b"), "fusion.attend": ("att_w", "att_b")}
    for i in range(3):
        names[f"consensus.layers.{i}"] = f"nc_w{i}", f"nc_b{i}"
        names[f"fusion.embedding.layers.{i}"] = f"embed_w{i}", f"embed_b{i}"
    weights = {
        f"{layer}.{kind}": golden[f"net_{stored}"]
        for layer, both in names.items()
        for kind, stored in zip(("weight", "bias"), both, strict=True)
    }
    za, zb = golden["net_za"], golden["net_zb"]
    found = plain.network(za, zb, weights, 7)
    for branch, name in enumerate(("local", "context")):
        torch.testing.assert_close(
            found.of_branches[branch], golden[f"net_{name}"][:, 0], rtol=1e-4, atol=1e-6
        )
    on_a, on_b = found.on_a.flatten(3).permute(0, 3, 1, 2), found.on_b.flatten(1, 2)
    torch.testing.assert_close(on_a, golden["net_scores_a"], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(on_b, golden["net_scores_b"], rtol=1e-4, atol=1e-7)
    # A difference of nearly equal sums of scores, which are the authors' in single precision.
    loss = plain.weak_loss(za, zb, weights, 7, auxiliary=True)
    assert loss.item() == pytest.approx(golden["net_loss_aux"].item(), abs=1e-6)


class Given(FeatureCache):
    """Features in float64 that no picture is read for, by the pictures' keys."""

    def __init__(self, model: DCCNet, features: dict[str, Tensor]) -> None:
        super().__init__(model, 0)
        self.given = features

    def _take(self, picture: Picture) -> tuple[Tensor, Size]:
        return self.given[picture.key], (64, 48)

    def _is_known(self, picture: Picture) -> bool:
        return True


class Recorder:
    """Loss, gradients and weights after every step."""

    def __init__(self, model: DCCNet) -> None:
        self.model = model
        self.losses: list[float] = []
        self.gradients: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor]] = []

    def on_step(self, progress: Progress, steps: int, values: dict[str, float]) -> None:
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self.losses.append(values["loss"])
        self.gradients.append({name: p.grad.clone() for name, p in trained if p.grad is not None})
        self.weights.append({name: p.detach().clone() for name, p in trained})

    def on_validation(self, progress: Progress, validation: Validation) -> None:
        pass


@pytest.mark.parametrize(
    ("name", "lowering"),
    [("dccnet", "stack"), ("dccnet", "paired"), ("dccnet", "complex"), ("ncnet", "stack")],
)
def test_five_steps_have_the_losses_gradients_and_weights_of_the_method(
    name: str, lowering: str, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    model = DCCNet(SIZES.replace(**ABLATIONS[name]))
    if model.context_encoder is not None:  # the features that are given bypass the backbone
        model.context_encoder = SpatialContextEncoder(CHANNELS, KERNEL, SIZES.context_channels)
    with torch.no_grad():
        for weight in [p for p in model.parameters() if p.requires_grad]:
            weight.copy_(0.3 * torch.randn_like(weight))
    model.double().lower(TRAINING_LOWERINGS[lowering])
    features = {
        f"{side}{i}": torch.rand(1, CHANNELS, 4, 3).double() for i in range(STEPS * BATCH) for side in "ab"
    }
    pairs = [
        Pair(*(Picture(f"{side}{i}", lambda: pytest.fail("a picture was read")) for side in "ab"), "cat")
        for i in range(STEPS * BATCH)
    ]
    settings = TrainSettings(data="pairs.csv", epochs=1, batch_size=BATCH, learning_rate=RATE)
    trainer = Trainer(model, pairs, [], settings, RunFolder(tmp_path))
    trainer.features = Given(model, features)
    recorder = Recorder(model)
    weights = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    trainer.run(recorder)

    adam = plain.Adam(weights, RATE)
    assert len(recorder.losses) == STEPS
    for step, batch in enumerate(trainer.batches.of_epoch(0)):
        za, zb = (
            plain.unit_length(torch.cat([features[p.key] for p in pictures]))
            for pictures in zip(*((s.pair.source, s.pair.target) for s in batch), strict=True)
        )
        leaves = {n: w.clone().requires_grad_() for n, w in weights.items()}
        loss = plain.weak_loss(za, zb, leaves, KERNEL, model.config.auxiliary_loss)
        gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        weights = adam.step(weights, gradients)
        assert recorder.losses[step] == pytest.approx(loss.item(), rel=TOLERANCE)
        assert recorder.gradients[step].keys() == gradients.keys()
        for n, expected in gradients.items():
            assert expected.abs().max() > 0, n
            assert relative(recorder.gradients[step][n], expected) <= TOLERANCE, n
            assert relative(recorder.weights[step][n], weights[n]) <= TOLERANCE, n


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())
