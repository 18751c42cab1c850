"""The lowering of an export where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from dccnet.export.build import export_bundle, usual_lowering
from dccnet.network.config import PRESETS
from dccnet.network.conv4d import LOWERINGS, STACK
from dccnet.network.model import DCCNet
from dccnet.runtime.manifest import Conv4dChoice


@pytest.mark.parametrize(
    ("preset", "grid", "lowering"),
    [
        ("dccnet", (25, 25), "spectral"),
        ("small", (22, 22), "spectral"),
        ("tiny", (16, 16), "spectral"),
        ("tiny", (25, 50), "stack"),
    ],
)
def test_the_usual_lowering_depends_on_kernels_and_grid(
    preset: str, grid: tuple[int, int], lowering: str
) -> None:
    assert usual_lowering(PRESETS[preset], grid) == lowering


def test_the_default_is_the_usual_lowering(
    small_model: DCCNet, tmp_path: Path, pictures: list[Path]
) -> None:
    bundle = export_bundle(small_model, tmp_path / "b", pictures[:2])
    assert bundle.manifest.conv4d == Conv4dChoice(usual_lowering(small_model.config, small_model.grid))
    assert bundle.manifest.verified and LOWERINGS[bundle.manifest.conv4d.lowering] is not STACK
