"""Keypoints, mirrored pairs and warped views: what training can know beside the paper's weak loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.evaluation.pairs import Pair, Picture, facing_opposite, file_picture, mirrored
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.fusion import Scores
from dccnet.network.model import DCCNet, Matching
from dccnet.runtime.images import read_image
from dccnet.training.batches import Batches
from dccnet.training.settings import TrainSettings
from dccnet.training.starts import mirror_channels
from dccnet.training.supervision import Keypoints, keypoint_loss
from dccnet.training.synthetic import warped_view
from tests.helpers.networks import ONE_BRANCH, SMALL, build

NCNET = SMALL.replace(branches=("local",), **ONE_BRANCH)
GRID = (3, 4)


def matching(on_a: torch.Tensor, on_b: torch.Tensor) -> Matching:
    """Of probabilities ``(B, cells of A, cells of B)``."""
    maps = {"local": torch.zeros(len(on_a), 1, *GRID, *GRID)}
    return Matching(Scores(on_a, on_b), maps, None)


def keypoints(*places: tuple[int, tuple[float, float], tuple[float, float]]) -> Keypoints:
    pair, source, target = zip(*places, strict=True)
    return Keypoints(torch.tensor(pair), torch.tensor(source).float(), torch.tensor(target).float())


def test_the_loss_is_minus_the_logarithm_of_the_probability_of_the_truth() -> None:
    """By hand: A's cell (x 1, y 2) is B's cell (3, 0); then halfway between two cells of B."""
    a, b = 2 * GRID[1] + 1, 3
    on_a, on_b = torch.full((1, 12, 12), 0.01), torch.full((1, 12, 12), 0.01)
    on_a[0, a, b], on_b[0, a, b], on_a[0, a, b - 1] = 0.5, 0.25, 0.1
    model = build(NCNET)
    exact = keypoint_loss(model, matching(on_a, on_b), keypoints((0, (1, 2), (3, 0))))
    assert float(exact) == pytest.approx(-(np.log(0.5) + np.log(0.25)) / 2, abs=1e-5)
    between = keypoint_loss(model, matching(on_a, on_b), keypoints((0, (1, 2), (2.5, 0))))
    assert float(between) == pytest.approx(-(np.log(0.3) + np.log(0.13)) / 2, abs=1e-5)


def test_pairs_weigh_alike_however_many_keypoints_they_have() -> None:
    on = torch.rand(3, 12, 12)
    model = build(NCNET)
    many = [(0, (0, 0), (1, 1)), (0, (2, 1), (0, 2)), (0, (3, 2), (3, 2))]
    one = [(1, (1, 1), (2, 2))]
    both = keypoint_loss(model, matching(on, on), keypoints(*many, *one))
    alone = [keypoint_loss(model, matching(on, on), keypoints(*places)) for places in (many, one)]
    torch.testing.assert_close(both, sum(alone))  # pairs without keypoints add nothing to the mean


@pytest.fixture(scope="module")
def ncnet() -> DCCNet:
    return build(NCNET)


@given(x=st.floats(-1, 4), y=st.floats(-1, 3))
@settings(max_examples=50, deadline=None)
def test_points_anywhere_have_a_finite_loss_and_gradient(ncnet: DCCNet, x: float, y: float) -> None:
    on = torch.rand(1, 12, 12, requires_grad=True)
    loss = keypoint_loss(ncnet, matching(on, on), keypoints((0, (x, y), (y, x))))
    loss.backward()
    assert torch.isfinite(loss) and on.grad is not None and on.grad.isfinite().all()


# Mirrored --------------------------------------------------------------------------------------


def test_mirrored_twice_is_the_picture_itself(pictures: list[Path]) -> None:
    plain = file_picture(pictures[0])
    there, back = mirrored(plain), mirrored(mirrored(plain))
    assert (there.load() == plain.load()[:, ::-1]).all() and there.key != plain.key == back.key
    assert (back.load() == plain.load()).all() and back.file == there.file == pictures[0]


def test_keypoints_follow_their_mirrored_picture(pictures: list[Path]) -> None:
    width = read_image(pictures[0]).shape[1]
    points = np.array([[0.0, 5.0], [10.0, 7.0]])
    pair = Pair(file_picture(pictures[0]), file_picture(pictures[1]), "cat", points, points)
    opposite = facing_opposite(pair)
    assert opposite.source_points is not None
    np.testing.assert_allclose(opposite.source_points, [[width - 1, 5], [width - 11, 7]])
    assert opposite.target is pair.target and opposite.target_points is points
    again = facing_opposite(opposite)
    np.testing.assert_allclose(again.source_points, points)
    assert again.source.key == pair.source.key


@pytest.mark.parametrize("channels", [(8, 1), (6, 4, 1)])
def test_kernels_that_start_both_ways_see_both_ways_alike(channels: tuple[int, ...]) -> None:
    """One way of a chain commutes with mirroring B; in the sum of both ways, A's mirror enters, too."""
    torch.manual_seed(0)
    network = NeighbourhoodConsensus((3,) * len(channels), channels).double()
    c = torch.rand(1, 1, 4, 5, 3, 6, dtype=torch.float64)

    def chain(x: torch.Tensor) -> torch.Tensor:
        return network.lowering.chain([x], network.weights, None)[0]

    assert not torch.allclose(chain(c.flip(5)), chain(c).flip(5))
    mirror_channels(network)
    torch.testing.assert_close(chain(c.flip(5)), chain(c).flip(5))


def test_a_share_of_the_pairs_faces_opposite_ways(pictures: list[Path]) -> None:
    pairs = [Pair(file_picture(pictures[i % 2]), file_picture(pictures[2]), str(i % 5)) for i in range(200)]
    asked = TrainSettings(data="list", opposite=0.25, batch_size=20, negatives="apart", warps=1.0)
    batches = Batches(pairs, asked, (64, 64)).of_epoch(0)
    samples = [sample for batch in batches for sample in batch]
    assert 0.15 < np.mean([s.mirrored for s in samples]) < 0.35
    assert all((s.source.key == s.pair.source.key) != s.mirrored for s in samples)
    for batch in batches:
        following = [*batch[1:], batch[0]]
        assert all(s.mismatched is n.source for s, n in zip(batch, following, strict=True))
        assert all(s.pair.category != n.pair.category for s, n in zip(batch, following, strict=True))


# Views -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1])
def test_a_view_shows_at_its_points_what_the_picture_shows_at_their_truth(
    pictures: list[Path], index: int
) -> None:
    """Checked by the matches of equal patches' positions: a picture whose colours are its coordinates."""
    y, x = np.mgrid[:128, :128]
    picture = Picture("coordinates", lambda: np.stack([2 * x, 2 * y, 0 * x], 2).astype(np.uint8))
    view = warped_view(picture, index, (1, 2), (128, 128))
    seen = view.picture.load().astype(float)
    at, truth = (np.rint((p + 1) / 2 * 127).astype(int) for p in (view.points, view.truth))
    inside = (np.abs(view.truth) < 0.9).all(axis=1)
    for channel, axis in ((0, 0), (1, 1)):  # light and contrast change, the order of places does not
        values, places = seen[at[:, 1], at[:, 0], channel][inside], truth[inside, axis]
        assert np.corrcoef(values, places)[0, 1] > 0.97
    right = np.polyfit(view.points[:, 0], view.truth[:, 0], 1)[0]
    assert (right < 0) == bool(index % 2), "odd views are mirrored"


def test_views_do_not_depend_on_where_the_pictures_lie(tmp_path: Path, pictures: list[Path]) -> None:
    asked = TrainSettings(data="list", warps=1.0, batch_size=2)
    found = []
    for folder in ("here", "there"):
        path = tmp_path / folder / "a.jpg"
        path.parent.mkdir()
        path.write_bytes(pictures[0].read_bytes())
        pairs = [Pair(file_picture(path), file_picture(path), "c")] * 2
        (batch,) = Batches(pairs, asked, (64, 64)).of_epoch(0)
        assert batch[0].view is not None
        found.append(batch[0].view.truth)
    np.testing.assert_array_equal(*found)
