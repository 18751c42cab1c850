"""Training and lowerings: the same numbers on a GPU as on the CPU, within the GPU's precision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dccnet.network.config import ModelConfig
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.runtime.cuda import Device
from dccnet.training import datasets as training_datasets
from dccnet.training.autotune import missing
from dccnet.training.run import start_run

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("strict_float32")]
NETWORK = ModelConfig(
    backbone="resnet18", image_size=(96, 80), context_kernel=3, context_channels=8,
    consensus_kernels=(3, 3), consensus_channels=(4, 1),
)  # fmt: skip


def losses(folder: Path, device: str, pictures: Path, **options: object) -> list[tuple[float, float]]:
    """Loss and mean score of each step of a short training."""
    wanted = {
        "synthetic": str(pictures), "pairs": 6, "batch_size": 2, "epochs": 2, "weights": "random",
        "device": device, "conv4d": "stack",
    }  # fmt: skip
    start_run(str(folder), NETWORK, wanted | options)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["loss"], line["positive"]) for line in lines if "loss" in line]


@pytest.mark.parametrize("lowering", ["stack", "spectral"])
def test_losses_are_those_of_the_cpu(
    lowering: str, gpu: Device, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is a small difference of scores, so errors are relative to the score."""
    monkeypatch.setattr(training_datasets, "VALIDATION_PAIRS", 2)
    folder = pictures[0].parent
    expected = losses(tmp_path / "cpu", "cpu", folder)
    found = losses(tmp_path / "gpu", "cuda", folder, conv4d=lowering)
    assert len(found) == len(expected) >= 4
    for (loss, _), (true, score) in zip(found, expected, strict=True):
        assert abs(loss - true) <= 1e-4 * abs(score)


@pytest.mark.parametrize("lowering", sorted(TRAINING_LOWERINGS))
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_lowerings_agree_with_float64(lowering: str, dtype: torch.dtype, bound: float, gpu: Device) -> None:
    if reason := missing(lowering, torch.device("cuda")):
        pytest.skip(f"{lowering} {reason}")
    torch.manual_seed(0)
    exact = NeighbourhoodConsensus((5, 3), (4, 1)).double()
    with torch.no_grad():
        for layer in exact.layers:
            layer.bias.add_(1)  # open ReLUs, so that rounding does not switch them
    c = torch.rand(2, 1, 7, 6, 5, 8, dtype=torch.float64, requires_grad=True)
    (true,) = exact([c])
    true_gradients = torch.autograd.grad(true.square().sum(), [c, *exact.parameters()])

    network = NeighbourhoodConsensus((5, 3), (4, 1))
    network.load_state_dict(exact.state_dict())
    network.cuda().lowering = TRAINING_LOWERINGS[lowering]
    x = c.detach().float().cuda().requires_grad_()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        (y,) = network([x])
        loss = y.float().square().sum()
    gradients = torch.autograd.grad(loss, [x, *network.parameters()])
    for found, expected in zip((y, *gradients), (true, *true_gradients), strict=True):
        difference = found.detach().double().cpu() - expected.detach()
        assert float(difference.norm() / expected.detach().norm()) <= bound
