"""The lowering of an export where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from dccnet.export.build import export_bundle, usual_lowering
from dccnet.network.config import PRESETS
from dccnet.network.conv4d import LOWERINGS, STACK
from dccnet.runtime.manifest import Conv4dChoice
from tests.helpers.networks import PLAIN, build, decisive


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


def test_the_default_is_the_usual_lowering(tmp_path: Path, pictures: list[Path]) -> None:
    model = decisive(build(PLAIN))
    bundle = export_bundle(model, tmp_path / "b", pictures[:2])
    assert bundle.manifest.conv4d == Conv4dChoice(usual_lowering(model.config, model.grid))
    assert bundle.manifest.verified and LOWERINGS[bundle.manifest.conv4d.lowering] is not STACK
