"""``dcc models build`` makes the model that comes with dcc again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from dccnet.calibration.models.small_1 import CARD
from dccnet.calibration.models.views import write_views
from dccnet.network.config import PRESETS
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.card import read_card
from dccnet.runtime.models.names import BUILT_IN, DEFAULT, open_bundle
from dccnet.training.initial import initial_network
from dccnet.weights.pretrained import IMAGENET
from tests.helpers.commands import Cli, one_sentence

NUMBERS = 1e-3
"""Largest relative difference of numbers: versions of the libraries and processors round differently."""
RANGES = 0.04
"""The same for :data:`MOVED` ranges of activations. Of two with nearly the same error, rounding decides."""
MOVED = 4


@pytest.mark.slow
def test_the_rebuilt_model_is_the_one_that_comes_with_dcc(
    dcc: Cli, tmp_path: Path, photos: list[Image]
) -> None:
    made = dcc("models", "build", DEFAULT, "-o", tmp_path / "again", timeout=1200)
    assert made.returncode == 0, made.stderr
    rebuilt, shipped = Bundle.open(tmp_path / "again"), open_bundle()
    assert {f.name for f in rebuilt.path.iterdir()} == {f.name for f in shipped.path.iterdir()}
    assert read_card(rebuilt.path) == read_card(shipped.path)
    assert rebuilt.manifest.verified and rebuilt.manifest.model == shipped.manifest.model
    for name in shipped.manifest.graphs:
        ours, theirs = (weights(bundle.graph_path(name)) for bundle in (shipped, rebuilt))
        assert ours.keys() == theirs.keys()
        moved: set[float] = set()
        for key, value in ours.items():
            if value.dtype == np.int8:
                assert np.abs(value.astype(int) - theirs[key]).max() <= 1, key
            elif value.dtype != np.int64:  # in which -1 may stand for a size
                close = np.allclose(theirs[key], value, rtol=NUMBERS, atol=1e-6)
                if not close and value.ndim == 0 and "quantize" in key.operator.lower():
                    np.testing.assert_allclose(theirs[key], value, rtol=RANGES, err_msg=str(key))
                    moved.add(float(value))
                else:
                    assert close, key
        assert len(moved) <= MOVED, moved
    results = [Matcher.open(bundle).match(*photos[:2]) for bundle in (shipped, rebuilt)]
    assert np.mean(results[0].index_a == results[1].index_a) >= 0.9  # docs/models.md says why they differ


class Place(NamedTuple):
    """Names of constants change with the exporter; their places do not."""

    node: int
    operator: str
    input: int


def weights(path: Path) -> dict[Place, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """All constants, and every operator's place."""
    graph = onnx.load(str(path)).graph
    constants = {i.name: np.asarray(numpy_helper.to_array(i)) for i in graph.initializer}
    nothing = np.empty(0)
    return {
        Place(number, node.op_type, place): constants.get(name, nothing)
        for number, node in enumerate(graph.node)
        for place, name in enumerate(node.input)
    }


def test_the_card_that_is_written_is_the_one_that_comes_with_dcc() -> None:
    assert read_card(BUILT_IN / DEFAULT) == CARD


def test_nothing_in_it_is_random() -> None:
    one, two = (
        initial_network(PRESETS["small"], IMAGENET, "plain", True, seed).state_dict() for seed in (1, 2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_views_differ_and_are_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert write_views(tmp_path / folder) == 36
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    views = [read_image(tmp_path / "a" / name) for name in names]
    for name, view in zip(names, views, strict=True):
        np.testing.assert_array_equal(read_image(tmp_path / "b" / name), view)
    assert len({view.tobytes() for view in views}) == 36


def test_building_replaces_nothing_but_a_bundle(dcc: Cli, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    refused = dcc("models", "build", DEFAULT, "-o", tmp_path)
    one_sentence(refused, 2, "is not a bundle")
    assert dcc("models", "build", "other", "-o", tmp_path / "x").returncode == 2
