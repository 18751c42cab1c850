"""A real GPU for tests that need PyTorch and cuda-python, but no TensorRT: ``make test-cuda``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dccnet.runtime.cuda import Device, cuda_problem, open_device


@pytest.fixture(scope="session")
def gpu() -> Device:
    """GPU 0; tests that ask for it are skipped where there is none, with the reason."""
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU")
    if (problem := cuda_problem()) is not None:
        pytest.skip(problem)
    return open_device(0)


@pytest.fixture
def strict_float32() -> Iterator[None]:
    """No TF32 in convolutions and matrix products."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
