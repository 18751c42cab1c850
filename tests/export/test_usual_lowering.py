"""The lowering of an export where none is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from dccnet.export.build import export_bundle, usual_lowering
from dccnet.network.config import PRESETS
from dccnet.network.conv4d import LOWERINGS, STACK
from dccnet.runtime.backend import matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import UsageError
from dccnet.runtime.images import read_image
from dccnet.runtime.manifest import Conv4dChoice
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend, OnnxRuntimeGraph
from dccnet.training.starts import count_votes
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


def test_half_precision_takes_what_was_faster_on_a_gpu() -> None:
    assert usual_lowering(PRESETS["dccnet"], (25, 25), half=True) == "stack"


def test_the_usual_lowering_is_exported_and_the_others_beside_it(
    tmp_path: Path, pictures: list[Path]
) -> None:
    model = decisive(build(PLAIN))
    bundle = export_bundle(model, tmp_path / "b", pictures[:2], conv4d="all")
    usual = usual_lowering(model.config, model.grid)
    assert bundle.manifest.conv4d == Conv4dChoice(usual)
    assert bundle.manifest.verified and LOWERINGS[usual] is not STACK
    assert {usual, *bundle.manifest.lowerings} == set(LOWERINGS)
    frames = [bundle.manifest.frames.of(read_image(picture)) for picture in pictures[:2]]
    results = []
    for name in LOWERINGS:
        backend = OnnxRuntimeBackend.open(Bundle.open(bundle.path).with_lowering(name), "cpu", 0, 1)
        results.append(backend.match(*map(backend.encode, frames)))
        np.testing.assert_allclose(results[-1]["score_a"], results[0]["score_a"], rtol=1e-3)
    nodes = {len(onnx.load(bundle.path / graph.file).graph.node) for graph in bundle.manifest.files[1:]}
    assert len(nodes) == len(LOWERINGS)  # they are different graphs


def test_kernels_of_votes_are_exported_separably_and_take_any_batch(
    tmp_path: Path, pictures: list[Path]
) -> None:
    model = decisive(build(PLAIN.replace(consensus_kernels=(5,))))
    count_votes(model.consensus, both_ways=False)
    bundle = export_bundle(model, tmp_path / "b", pictures[:2])
    assert bundle.manifest.conv4d == Conv4dChoice("separable") and bundle.manifest.verified
    backend = OnnxRuntimeBackend.open(bundle, "cpu", 0, 1)
    a, b = (backend.encode(bundle.manifest.frames.of(read_image(picture))) for picture in pictures[:2])
    pairs = [matcher_inputs(a, b), matcher_inputs(b, a)]
    matcher = OnnxRuntimeGraph(bundle.graph_path("matcher"))
    together = matcher.run({name: np.concatenate([pair[name] for pair in pairs]) for name in pairs[0]})
    for number, pair in enumerate(pairs):
        np.testing.assert_allclose(together["score_a"][number], matcher.run(pair)["score_a"][0], atol=1e-6)


def test_other_kernels_are_refused_for_separable_before_anything_is_written(
    tmp_path: Path, pictures: list[Path]
) -> None:
    with pytest.raises(UsageError, match=r"at most 4 products.*--conv4d usual"):
        export_bundle(build(PLAIN), tmp_path / "b", pictures[:2], conv4d="separable")
    assert not (tmp_path / "b").exists()
