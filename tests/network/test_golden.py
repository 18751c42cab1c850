"""Every array that the authors' code produced is reproduced within 1e-4 relative."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dccnet.evaluation.pck import pair_pck
from dccnet.export.graphs import MatcherGraph
from dccnet.export.onnx_file import write_onnx
from dccnet.network.config import ModelConfig
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.context import SpatialContextEncoder, self_similarity
from dccnet.network.conv4d import LOWERINGS, TRAINING_LOWERINGS, conv4d
from dccnet.network.correlation import mutual_matching
from dccnet.network.loss import weak_loss
from dccnet.network.matching import best_matches
from dccnet.network.model import DCCNet, Features, Matching
from dccnet.runtime import geometry
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.weights.official import _natural_order

Golden = dict[str, Tensor]


def assert_close(actual: Tensor | np.ndarray, expected: Tensor) -> None:
    actual = torch.as_tensor(np.asarray(actual.detach() if isinstance(actual, Tensor) else actual))
    assert actual.shape == expected.shape
    scale = expected.double().abs().max()
    assert (actual.double() - expected.double()).abs().max() <= 1e-4 * scale


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("case", ["conv4d", "conv4d3"])
def test_conv4d(golden: Golden, case: str, lowering: str) -> None:
    x, w, b, y = (golden[f"{case}_{name}"] for name in "xwby")
    assert_close(conv4d(x, w, b, LOWERINGS[lowering]), y)


def test_published_kernels_are_stored_permuted(golden: Golden) -> None:
    assert torch.equal(_natural_order(golden["conv4d_w_stored"]), golden["conv4d_w"])


def test_mutual_matching(golden: Golden) -> None:
    assert_close(mutual_matching(golden["mutual_x"]), golden["mutual_y"])


@pytest.mark.parametrize("lowering", TRAINING_LOWERINGS)
def test_neighbourhood_consensus(golden: Golden, lowering: str) -> None:
    consensus = NeighbourhoodConsensus((5, 3, 5), (6, 5, 1))
    consensus.lowering = TRAINING_LOWERINGS[lowering]
    fill(consensus, golden, "consensus_w", "consensus_b")
    assert_close(consensus([golden["consensus_x"]])[0], golden["consensus_y"])


def test_context_encoder(golden: Golden) -> None:
    assert_close(self_similarity(golden["context_z"], 5), golden["context_s"])
    encoder = SpatialContextEncoder(10, 5, 12)
    fill_layer(encoder.embed, golden["context_w"], golden["context_b"])
    assert_close(encoder(golden["context_z"]), golden["context_g"])


@pytest.fixture(scope="module", params=LOWERINGS)
def network(golden: Golden, request: pytest.FixtureRequest) -> DCCNet:
    """The network of the ``net_*`` arrays: 6x6 cells of 16 channels."""
    config = ModelConfig(
        backbone="resnet18",
        image_size=(96, 96),
        context_kernel=7,
        context_channels=14,
        consensus_kernels=(5, 5, 5),
        consensus_channels=(4, 4, 1),
    )
    model = DCCNet(config)
    assert model.fusion is not None and model.fusion.embedding is not None
    model.context_encoder = SpatialContextEncoder(16, 7, 14)  # its features bypass the backbone
    fill_layer(model.context_encoder.embed, golden["net_context_w"], golden["net_context_b"])
    fill(model.consensus, golden, "net_nc_w", "net_nc_b")
    fill(model.fusion.embedding, golden, "net_embed_w", "net_embed_b")
    fill_layer(model.fusion.attend, golden["net_att_w"], golden["net_att_b"])  # type: ignore[union-attr,arg-type]
    model.lower(LOWERINGS[request.param])
    return model


@pytest.fixture(scope="module")
def features(golden: Golden, network: DCCNet) -> tuple[Features, Features]:
    return network.branch_features(golden["net_za"]), network.branch_features(golden["net_zb"])


@pytest.fixture(scope="module")
def matching(network: DCCNet, features: tuple[Features, Features]) -> Matching:
    return network.match(*features)


def test_correlation_maps(golden: Golden, matching: Matching) -> None:
    assert_close(matching.maps["local"], golden["net_local"])
    assert_close(matching.maps["context"], golden["net_context"])


def test_attention(golden: Golden, matching: Matching) -> None:
    assert matching.attention is not None
    assert_close(matching.attention.on_a, golden["net_att_a"])
    assert_close(matching.attention.on_b, golden["net_att_b_map"])


def test_fused_scores(golden: Golden, matching: Matching) -> None:
    assert_close(matching.scores.on_a.transpose(1, 2).reshape(3, 36, 6, 6), golden["net_scores_a"])
    assert_close(matching.scores.on_b.reshape(3, 36, 6, 6), golden["net_scores_b"])


def test_fused_scores_in_onnx_runtime(
    golden: Golden,
    network: DCCNet,
    features: tuple[Features, Features],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network.backbone, "channels", 16)  # of the golden features
    path = tmp_path / "matcher.onnx"
    write_onnx(MatcherGraph(network.eval(), heatmaps=True), path)
    inputs = {
        f"{name}_{side}": f.detach().numpy()
        for side, picture in zip("ab", features, strict=True)
        for name, f in picture.items()
    }
    outputs = OnnxRuntimeGraph(path).run(inputs)
    on_a, on_b = (torch.from_numpy(outputs[f"heatmap_{side}"]) for side in "ab")
    assert_close(on_a.transpose(1, 2).reshape(3, 36, 6, 6), golden["net_scores_a"])
    assert_close(on_b.transpose(1, 2).reshape(3, 36, 6, 6), golden["net_scores_b"])


class LayerGraph(torch.nn.Module):
    """One 4D convolution, as the exporter takes it."""

    input_names, output_names = ["x"], ["y"]

    def __init__(self, x: Tensor, w: Tensor, b: Tensor, lowering: str) -> None:
        super().__init__()
        self.x, self.w, self.b = x, torch.nn.Parameter(w), torch.nn.Parameter(b)
        self.lowering = LOWERINGS[lowering]

    def forward(self, x: Tensor) -> Tensor:
        return conv4d(x, self.w, self.b, self.lowering)

    def example(self) -> dict[str, Tensor]:
        return {"x": torch.zeros(2, *self.x.shape[1:])}


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("case", ["conv4d", "conv4d3"])
def test_conv4d_in_onnx_runtime(golden: Golden, case: str, lowering: str, tmp_path: Path) -> None:
    x, w, b, y = (golden[f"{case}_{name}"] for name in "xwby")
    path = tmp_path / "layer.onnx"
    write_onnx(LayerGraph(x, w, b, lowering), path)  # type: ignore[arg-type]
    assert_close(OnnxRuntimeGraph(path).run({"x": x.numpy()})["y"], y)


@pytest.mark.parametrize(("auxiliary", "name"), [(False, "plain"), (True, "aux")])
def test_weak_loss(
    golden: Golden,
    network: DCCNet,
    features: tuple[Features, Features],
    auxiliary: bool,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "config", network.config.replace(auxiliary_loss=auxiliary))
    result = weak_loss(network, *features)
    # A difference of nearly equal scores: what single precision leaves of it is relative to the scores.
    error = (result.loss - golden[f"net_loss_{name}"]).abs()
    assert error <= 1e-5 * result.positive


def test_matches(golden: Golden, matching: Matching) -> None:
    matches = best_matches(matching.scores)
    row, column = golden["net_match_row_a"], golden["net_match_col_a"]
    assert torch.equal(matches.index_b, 6 * row + column)
    assert_close(matches.score_b, golden["net_match_score"])
    # Cells of a picture whose corners lie at (0, 0) and (2, 2) are normalised coordinates plus 1.
    normalised = geometry.index_pixels(matches.index_b.numpy(), (6, 6), (3, 3)) - 1
    assert_close(normalised[..., 0].astype("f4"), golden["net_match_x_a"])
    assert_close(normalised[..., 1].astype("f4"), golden["net_match_y_a"])


def test_keypoint_transfer_and_pck(golden: Golden) -> None:
    source_size, target_size = (
        tuple(int(v) for v in golden[f"points_{image}_size_hw"][0]) for image in ("source", "target")
    )
    index = (6 * golden["net_match_row_a"] + golden["net_match_col_a"])[0].reshape(6, 6).numpy()
    targets = geometry.index_pixels(index, (6, 6), source_size)  # type: ignore[arg-type]
    points = golden["points_target"][0].T.numpy() - 1  # the benchmarks count from 1
    warped = geometry.transfer(points, targets, target_size)  # type: ignore[arg-type]
    assert_close((warped + 1).T, golden["points_warped"][0])

    truth = golden["points_source_gt"][0].T.numpy() - 1
    real = truth[:, 0] >= 0  # the last is padding
    # The golden threshold is α·200 pixels; "img" takes the picture's longer side.
    measured = [
        pair_pck(warped[real], truth[real], (200, 200), float(alpha), "img")
        for alpha in golden["pck_alpha"]
    ]
    assert_close(np.array(measured), golden["pck"])
    assert float(golden["pck_L"][0]) == 200


def fill(consensus: NeighbourhoodConsensus, golden: Golden, weight: str, bias: str) -> None:
    for i, layer in enumerate(consensus.layers):
        fill_layer(layer, golden[f"{weight}{i}"], golden[f"{bias}{i}"])


def fill_layer(layer: torch.nn.Module, weight: Tensor, bias: Tensor) -> None:
    layer.load_state_dict({"weight": weight, "bias": bias})
