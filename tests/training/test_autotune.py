"""Which lowering trains on a GPU. None is needed here."""

from __future__ import annotations

import pytest
import torch

from dccnet.network.config import PRESETS
from dccnet.network.conv4d import direct
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import UsageError
from dccnet.training.autotune import lowering_here, lowering_of_run, missing, refuse_missing, usual_lowering
from dccnet.training.processes import Processes

GPU = torch.device("cuda")


@pytest.fixture
def new_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were a GPU of capability 9.0, and Triton."""
    monkeypatch.setattr("dccnet.training.autotune.is_supported", lambda device: device.type == "cuda")
    monkeypatch.setattr("dccnet.training.autotune.find_spec", lambda name: name)


@pytest.mark.usefixtures("new_gpu")
@pytest.mark.parametrize("preset", ["dccnet", "tiny"])
def test_a_gpu_trains_with_kernels(preset: str) -> None:
    model = DCCNet(PRESETS[preset])
    assert usual_lowering(model, GPU) == "direct"
    assert lowering_of_run(None, model, 16, Processes(device=GPU)) == "direct"
    assert lowering_of_run("stack", model, 16, Processes(device=GPU)) == "stack"
    assert usual_lowering(model, torch.device("mps")) == "stack"


@pytest.mark.usefixtures("new_gpu")
def test_a_run_goes_on_on_another_device() -> None:
    model = DCCNet(PRESETS["dccnet"])
    assert lowering_here("direct", model, GPU) == "direct"
    assert lowering_here("direct", model) == "complex"
    assert lowering_here("spectral", model, GPU) == "spectral"  # it was chosen when the run started
    assert lowering_here("paired", DCCNet(PRESETS["tiny"]), GPU) == "direct"


@pytest.mark.usefixtures("new_gpu")
def test_kernels_are_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("direct", GPU) == ""
    with pytest.raises(UsageError, match=r"^--conv4d direct computes on a GPU only: choose"):
        refuse_missing("direct", torch.device("cpu"))
    monkeypatch.setattr("dccnet.training.autotune.is_supported", lambda device: False)
    with pytest.raises(
        UsageError, match=r"^--conv4d direct needs an NVIDIA GPU of compute capability 8\.0"
    ):
        refuse_missing("direct", GPU)
    assert usual_lowering(DCCNet(PRESETS["dccnet"]), GPU) == "stack"
    monkeypatch.setattr("dccnet.training.autotune.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"^--conv4d direct needs triton: pip install triton"):
        refuse_missing("direct", GPU)


@pytest.mark.parametrize(
    ("cuda", "capability", "supported"),
    [("13.0", (9, 0), True), ("13.0", (8, 0), True), ("12.6", (7, 5), False), (None, (9, 0), False)],
)
def test_gpus_with_tensor_cores_for_all_types_are_supported(
    cuda: str | None, capability: tuple[int, int], supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)  # None in PyTorch for AMD's GPUs
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert direct.is_supported(GPU) == supported
    assert not direct.is_supported(torch.device("cpu"))
