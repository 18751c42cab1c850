"""Whether float32 products on a GPU may be computed in TF32. No GPU is needed: these are settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dccnet.evaluation.models import open_model
from dccnet.network.precision import set_tf32, tf32_allowed
from dccnet.runtime.selection import BackendChoice


@pytest.fixture(autouse=True)
def settings_come_back() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("allowed", [False, True])
def test_one_switch_for_convolutions_and_products(allowed: bool) -> None:
    set_tf32(allowed)
    assert tf32_allowed() is torch.backends.cuda.matmul.allow_tf32 is allowed


@pytest.mark.parametrize("allowed", [False, True])
def test_evaluation_uses_tf32_only_if_asked_for(checkpoint: Path, allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = not allowed
    model = open_model(checkpoint, BackendChoice(tf32=allowed), lambda text: None)
    assert tf32_allowed() is allowed
    assert model.backend.endswith("(CPU), float32")
