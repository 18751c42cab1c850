"""What a validation says about the branches, the attention and the embedding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dccnet.evaluation.pairs import Pair
from dccnet.evaluation.pck import mean_pck
from dccnet.export.bundles.samples import PICTURES
from dccnet.network.fusion import DynamicFusion
from dccnet.network.loss import weak_loss
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import UsageError
from dccnet.runtime.messages import show_messages
from dccnet.training.features import FeatureCache
from dccnet.training.reporting import NullReport
from dccnet.training.run import start_run
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.synthetic import synthetic_pairs
from dccnet.training.trainer import Trainer
from dccnet.training.validation import Validation, measure, summarise, with_mismatched
from dccnet.weights.checkpoint import load_checkpoint
from tests.helpers.networks import PLAIN, SMALL, build, decisive


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return synthetic_pairs(sorted(PICTURES.glob("*.jpg")), 3, seed=3, size=(96, 80))


def validated(model: DCCNet, pairs: list[Pair]) -> Validation:
    features = FeatureCache(model, 10**8)
    return summarise([measure(model, features, pair, 0.1, "bbox") for pair in pairs])


def lean(model: DCCNet, logit: float) -> DCCNet:
    """With the same attention in every cell: ``logit`` more for the local branch."""
    assert isinstance(model.fusion, DynamicFusion)
    with torch.no_grad():
        model.fusion.attend.weight.zero_()
        model.fusion.attend.bias.copy_(torch.tensor([logit, 0.0]))
    return model


def test_each_branch_is_scored_as_a_network_of_its_own(pairs: list[Pair]) -> None:
    model = decisive(build(SMALL))
    found = validated(model, pairs)
    assert found.pck == pytest.approx(mean_pck(pairs, FeatureCache(model, 10**8).match))
    for logit, branch in ((40, "local"), (-40, "context")):
        alone = lean(model, logit)
        assert found.by_branch is not None
        assert found.by_branch[branch] == pytest.approx(validated(alone, pairs).pck)


def test_the_attentions_mean_and_spread_are_those_of_all_cells(pairs: list[Pair]) -> None:
    model = decisive(build(SMALL))
    features = FeatureCache(model, 10**8)
    weights = []
    for pair in pairs:
        attention = features.matching(pair)[0].attention
        assert attention is not None
        weights += [side[0, 0].flatten() for side in attention]
    found = validated(model, pairs)
    assert found.attention == pytest.approx(float(torch.cat(weights).mean()), abs=1e-6)
    assert found.attention_spread == pytest.approx(float(torch.cat(weights).std(correction=0)), abs=1e-5)


def test_a_network_with_one_branch_has_only_a_pck(pairs: list[Pair]) -> None:
    model = build(SMALL.replace(branches=("local",), fusion=None, embedding=False, auxiliary_loss=False))
    found = validated(model, pairs)
    assert set(found.record()) == {"pck"} and found.details() == "" and found.complaints(None) == []


@pytest.mark.parametrize(("logit", "used", "other"), [(9, "local", "context"), (-9, "context", "local")])
def test_a_branch_without_effect_is_named(logit: float, used: str, other: str, pairs: list[Pair]) -> None:
    (complaint,) = validated(lean(decisive(build(SMALL)), logit), pairs).complaints("dynamic")
    assert f"uses the {used} branch alone" in complaint
    assert f"the {other} branch has no effect" in complaint and "fusion=support" in complaint


def test_a_fusion_by_support_is_not_advised_to_itself() -> None:
    (complaint,) = Validation(attention=0.01).complaints("support")
    assert "the context branch counts alone" in complaint and "fusion=support" not in complaint


def test_an_even_attention_is_no_complaint(pairs: list[Pair]) -> None:
    found = validated(lean(decisive(build(SMALL)), 0), pairs)
    assert found.complaints("dynamic") == [] and found.attention == 0.5 and found.attention_spread == 0


def test_a_dead_embedding_is_named(pairs: list[Pair]) -> None:
    model = build(SMALL)
    assert model.fusion is not None and model.fusion.embedding is not None
    with torch.no_grad():
        model.fusion.embedding.layers[-1].bias.fill_(-9)
    found = validated(model, pairs)
    assert found.embedded == 0 and "embedding is zero everywhere" in found.complaints("dynamic")[0]


def test_the_loss_is_the_weak_loss_of_the_list(pairs: list[Pair]) -> None:
    model = decisive(build(SMALL))
    features = FeatureCache(model, 10**8)
    weights = (2.0, 0.5)
    found = summarise(
        [measure(model, features, p, 0.1, "bbox", other, weights) for p, other in with_mismatched(pairs)]
    )
    with torch.no_grad():
        sources, mismatched, targets = (
            model.branch_features(model.local_features(features.batch(pictures)))  # type: ignore[arg-type]
            for pictures in (
                [p.source for p in pairs],
                [other for _, other in with_mismatched(pairs)],
                [p.target for p in pairs],
            )
        )
        expected = weak_loss(model, sources, targets, mismatched, weights).loss
        plain = weak_loss(model, sources, targets, mismatched).loss
    assert found.loss == pytest.approx(float(expected), abs=1e-6) and abs(expected - plain) > 1e-6
    assert with_mismatched(pairs[:1]) == [(pairs[0], None)]


def test_negatives_of_a_validation_are_of_other_categories(pairs: list[Pair]) -> None:
    sorted_list = [replace(pairs[i % 3], category=str(i // 4)) for i in range(12)]
    for pair, other in with_mismatched(sorted_list):
        owners = {p.category for p in sorted_list if p.source is other}
        assert other is not None and owners != {pair.category}


@pytest.mark.parametrize(
    ("count_start", "from_checkpoint", "best"),
    [
        (None, None, False),
        (True, None, True),
        (None, "x.safetensors", True),
        (False, "x.safetensors", False),
    ],
)
def test_the_network_before_training_is_best_only_where_it_counts(
    count_start: bool | None,
    from_checkpoint: str | None,
    best: bool,
    tmp_path: Path,
    pairs: list[Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = TrainSettings(
        synthetic="p", epochs=1, batch_size=2, count_start=count_start, from_checkpoint=from_checkpoint
    )
    trainer = Trainer(build(PLAIN), pairs, pairs, settings, RunFolder(tmp_path))
    falling = iter([Validation(pck=90.0), Validation(pck=10.0)])
    monkeypatch.setattr(trainer, "validate", lambda: next(falling))
    progress = trainer.run(NullReport())
    assert (progress.best_pck, progress.stale_epochs) == ((90.0, 1) if best else (10.0, 0))
    saved = load_checkpoint(tmp_path / "best.safetensors").state_dict()
    last = load_checkpoint(tmp_path / "last.safetensors").state_dict()
    assert all(torch.equal(saved[name], last[name]) for name in last) != best


def test_weights_of_losses_that_a_network_does_not_have_are_refused(tmp_path: Path) -> None:
    options = {"synthetic": str(PICTURES), "weights": "random", "lambda_local": 0.5}
    with pytest.raises(UsageError, match="--lambda and --gamma weigh the branches' own losses"):
        start_run(str(tmp_path / "run"), PLAIN, options)


@pytest.mark.parametrize("with_list", [True, False])
def test_a_run_logs_what_it_validated(
    with_list: bool, tmp_path: Path, pairs: list[Pair], capfd: pytest.CaptureFixture[str]
) -> None:
    show_messages()
    rows = ["source_image,target_image,class,XA,YA,XB,YB"]
    rows += [f"{path},{path},1,5;9,5;60,6;8,4;50" for path in sorted(PICTURES.glob("*.jpg"))]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    options = {"data": str(tmp_path / "list.csv"), "weights": "random", "epochs": 1, "batch_size": 4}
    options |= {"validate": options["data"]} if with_list else {}
    folder, progress = start_run(str(tmp_path / "run"), SMALL, options)
    log = [json.loads(line) for line in folder.log.read_text().splitlines()]
    before, after = [record for record in log if "step" not in record]
    measured = {"attention", "attention_spread", "embedded"}
    if with_list:  # the list of a run without validation has keypoints, too, which are no held-out truth
        measured |= {"pck", "pck_local", "pck_context", "validation_loss"}
    assert set(progress.validation) == measured
    assert progress.validation.items() <= after.items()
    assert (before["epoch"], after["epoch"]) == (0, 1)
    said = capfd.readouterr().err
    assert (
        "epoch 1: " in said and "attention for local 0." in said and ("PCK@0.1 (bbox)" in said) == with_list
    )


@pytest.mark.parametrize("fusion", ["average", "product"])
def test_without_list_attention_and_embedding_no_pair_is_matched(
    fusion: str, tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a pair was matched")

    monkeypatch.setattr("dccnet.training.trainer.measure", refuse)
    model = build(SMALL.replace(fusion=fusion, embedding=False))
    options = TrainSettings(synthetic=str(PICTURES), batch_size=2)
    assert Trainer(model, pairs, [], options, RunFolder(tmp_path)).validate() == Validation()
