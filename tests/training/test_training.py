from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from dccnet.evaluation.pairs import Pair, Picture
from dccnet.evaluation.pck import pair_pck
from dccnet.export.bundles.samples import PICTURES
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import CheckpointError, DataError, DccError, UsageError
from dccnet.runtime.locks import folder_lock
from dccnet.training.autotune import lowering_here, lowering_of_run, usual_lowering
from dccnet.training.batches import Sample, epoch_order, spread_groups
from dccnet.training.datasets import datasets
from dccnet.training.features import FeatureCache
from dccnet.training.interrupt_flag import InterruptFlag
from dccnet.training.processes import Processes
from dccnet.training.run import check_free, check_run, resume_run, start_run
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.state import Progress
from dccnet.training.synthetic import random_warp, split_photographs, synthetic_pairs
from dccnet.training.trainer import Trainer
from dccnet.training.validation import Measured, Validation
from dccnet.weights.checkpoint import load_checkpoint
from tests.helpers.networks import ONE_BRANCH, SMALL, build

CONFIG = SMALL.replace(image_size=(96, 96))


class Silent:
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_step(self, progress: Progress, steps: int, values: dict[str, float]) -> None:
        self.losses.append(values["loss"])

    def on_validation(self, progress: Progress, validation: Validation) -> None:
        pass


def settings(**changes: object) -> TrainSettings:
    values: dict[str, object] = {"synthetic": "photos", "epochs": 2, "batch_size": 4, "learning_rate": 1e-3}
    return TrainSettings(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pairs(pictures: list[Path]) -> list[Pair]:
    return synthetic_pairs(pictures, 12, seed=3, size=(96, 96))


def trainer(
    model: DCCNet, pairs: Sequence[Pair], folder: Path, **changes: object
) -> tuple[Trainer, Silent]:
    listener = Silent()
    run = RunFolder(folder)
    return Trainer(model, pairs, pairs[:4], settings(**changes), run), listener


# Synthetic pairs -------------------------------------------------------------------------------


def test_synthetic_pairs_are_reproducible_and_of_the_requested_size(pictures: list[Path]) -> None:
    first, again = (synthetic_pairs(pictures, 4, seed=7, size=(64, 80)) for _ in range(2))
    other = synthetic_pairs(pictures, 4, seed=8, size=(64, 80))
    for a, b, c in zip(first, again, other, strict=True):
        assert a.source.load().shape == (64, 80, 3)
        assert (a.target.load() == b.target.load()).all()
        assert a.target.key == b.target.key != c.target.key
        assert (a.target.load() != c.target.load()).any()


def test_synthetic_keypoints_show_the_same_thing_in_both_views(pictures: list[Path]) -> None:
    """Patches around true keypoints must resemble each other far more than other patches."""
    rng = np.random.default_rng(0)
    true, random = [], []
    for pair in synthetic_pairs(pictures, 12, seed=5, size=(128, 128)):
        assert pair.source_points is not None and pair.target_points is not None
        assert len(pair.source_points) >= 5
        source, target = (p.load().astype(float).mean(2) for p in (pair.source, pair.target))
        for a, b in zip(pair.source_points, pair.target_points, strict=True):
            elsewhere = rng.uniform(8, 119, 2)
            for point, distances in ((b, true), (elsewhere, random)):
                patches = [_patch(source, a), _patch(target, point)]
                if all(p is not None for p in patches):
                    distances.append(1 - np.corrcoef(*patches)[0, 1])
    assert np.nanmedian(true) < 0.35 < 0.7 < np.nanmedian(random)


def _patch(image: np.ndarray, point: np.ndarray) -> np.ndarray | None:
    x, y = np.rint(point).astype(int)
    patch = image[max(y - 6, 0) : y + 7, max(x - 6, 0) : x + 7]
    return patch.ravel() if patch.shape == (13, 13) and patch.std() > 4 else None


@pytest.mark.parametrize("seed", range(20))
def test_warps_keep_orientation_and_do_not_fold(seed: int) -> None:
    warp = random_warp(np.random.default_rng(seed))
    y, x = np.mgrid[-1:1:15j, -1:1:15j]
    moved = warp(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(15, 15, 2)
    right, down = np.diff(moved, axis=1)[:-1], np.diff(moved, axis=0)[:, :-1]
    assert (right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] > 0).all()


def test_photographs_are_split_without_overlap(tmp_path: Path, pictures: list[Path]) -> None:
    for i in range(10):
        (tmp_path / f"{i}.jpg").write_bytes(pictures[0].read_bytes())
    seen, held_out = split_photographs(sorted(tmp_path.iterdir()), seed=1)
    assert len(seen) == 8 and len(held_out) == 2 and not set(seen) & set(held_out)
    few = split_photographs(pictures, seed=1)
    assert few[0] == few[1] == pictures


def test_no_photographs_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one photograph"):
        synthetic_pairs([], 3, 0, (32, 32))


# The loop --------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_leaves_the_backbone(pairs: list[Pair], tmp_path: Path) -> None:
    model = build(CONFIG)
    frozen = model.backbone.trunk.conv1.weight.clone()
    run, listener = trainer(model, pairs, tmp_path, epochs=6, learning_rate=5e-3)
    progress = run.run(listener)
    assert progress.epoch == 6 and progress.total_steps == 18
    assert np.mean(listener.losses[-3:]) < np.mean(listener.losses[:3])
    assert torch.equal(model.backbone.trunk.conv1.weight, frozen)
    assert load_checkpoint(tmp_path / "last.safetensors").config == CONFIG


@pytest.mark.parametrize("moment", ["in a step", "after the epoch's last step", "in validation"])
def test_a_run_resumed_after_ctrl_c_continues_exactly(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    whole, silent = trainer(build(CONFIG), pairs, tmp_path / "whole")
    whole.run(silent)

    halted, _ = trainer(build(CONFIG), pairs, tmp_path / "halted")
    step, measure = Trainer._step, Trainer._measure
    taken, matches = itertools.count(1), itertools.count(1)

    def press_in_step(self: Trainer, batch: Sequence[Sample], steps: int) -> dict[str, float]:
        values = step(self, batch, steps)
        if next(taken) == {"in a step": 4, "after the epoch's last step": 3}.get(moment):
            signal.raise_signal(signal.SIGINT)  # the optimizer has stepped, the counters have not
        return values

    def press_in_validation(self: Trainer, pair: Pair, mismatched: Picture | None) -> Measured:
        if next(matches) == 6 and moment == "in validation":  # of the second validation
            signal.raise_signal(signal.SIGINT)
        return measure(self, pair, mismatched)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_step", press_in_step)
        patched.setattr(Trainer, "_measure", press_in_validation)
        with pytest.raises(KeyboardInterrupt):
            halted.run(silent)
    assert halted.progress.validated_epochs < 2

    resumed, _ = trainer(build(CONFIG), pairs, tmp_path / "halted")
    resumed.restore()
    assert resumed.run(silent) == whole.progress
    for name in ("last", "best"):
        expected = load_checkpoint(tmp_path / "whole" / f"{name}.safetensors").state_dict()
        actual = load_checkpoint(tmp_path / "halted" / f"{name}.safetensors").state_dict()
        for key, value in expected.items():
            torch.testing.assert_close(actual[key], value, rtol=0, atol=0, msg=key)


def test_a_second_ctrl_c_takes_effect_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with InterruptFlag():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_seed_decides_everything(pairs: list[Pair], tmp_path: Path) -> None:
    losses = []
    for number, seed in enumerate((1, 1, 2)):
        run, listener = trainer(build(CONFIG), pairs, tmp_path / str(number), epochs=1, seed=seed)
        run.run(listener)
        losses.append(listener.losses)
    assert losses[0] == losses[1] != losses[2]


def test_early_stopping_counts_epochs_without_improvement(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([50.0, 60.0, 55.0, 54.0, 99.0])
    monkeypatch.setattr(Trainer, "validate", lambda self: Validation(pck=next(values)))
    monkeypatch.setattr(Trainer, "_step", lambda self, batch, steps: {"loss": 0.0})
    run, listener = trainer(build(CONFIG), pairs, tmp_path, epochs=10, patience=2)
    progress = run.run(listener)
    assert progress.epoch == 3 and progress.best_pck == 60.0


def test_a_loss_that_is_not_finite_stops_with_advice(pairs: list[Pair], tmp_path: Path) -> None:
    model = build(CONFIG)
    model.consensus.layers[0].weight.data.fill_(torch.inf)
    with pytest.raises(DccError, match="lower --learning-rate"):
        trainer(model, pairs, tmp_path)[0].run(Silent())


@pytest.mark.parametrize(("photographs", "size"), [(5, 16), (7, 16), (2, 4), (3, 5), (10, 10)])
def test_views_of_one_photograph_are_never_each_others_negatives(photographs: int, size: int) -> None:
    groups = [str(i % photographs) for i in range(10 * photographs)]
    order = epoch_order(groups, np.random.default_rng(0), apart=True)
    assert sorted(order) == list(range(len(groups)))
    for start in range(0, len(order) - size + 1, size):
        batch = spread_groups(order[start : start + size], groups)
        assert sorted(batch) == sorted(order[start : start + size])
        rolled = [*batch[1:], batch[0]]
        assert all(groups[a] != groups[b] for a, b in zip(batch, rolled, strict=True))


def test_lists_are_shuffled_as_they_are() -> None:
    groups = ["a"] * 20 + ["b"] * 20
    order = epoch_order(groups, np.random.default_rng(0), apart=False)
    assert sorted(order) == list(range(40)) and order != list(range(40))


def test_features_are_computed_once_within_the_budget(pairs: list[Pair]) -> None:
    model = build(CONFIG)
    loads = []
    picture = dataclasses.replace(pairs[0].source, load=lambda: loads.append(1) or pairs[0].source.load())
    generous, stingy = FeatureCache(model, 10**9), FeatureCache(model, 0)
    first = generous.batch([picture])
    assert torch.equal(generous.batch([picture]), first) and len(loads) == generous.computed == 1
    assert generous.size(picture) == (96, 96)
    stingy.batch([picture])
    torch.testing.assert_close(stingy.batch([picture]), first, rtol=0, atol=0)
    assert len(loads) == 3 and stingy.computed == 2


# Folders ---------------------------------------------------------------------------------------


def test_a_run_can_be_resumed_to_more_epochs_from_its_folder(tmp_path: Path, pictures: list[Path]) -> None:
    options = {
        "synthetic": str(pictures[0].parent),
        "epochs": 1,
        "pairs": 6,
        "batch_size": 3,
        "weights": "random",
    }
    config = CONFIG.replace(branches=("local",), **ONE_BRANCH)
    folder, progress = start_run(str(tmp_path / "run"), config, options)
    assert progress.epoch == 1
    with pytest.raises(UsageError, match="already holds a run"):
        start_run(str(tmp_path / "run"), config, options)
    torch.backends.cudnn.allow_tf32 = True  # PyTorch's default
    _, progress = resume_run(str(tmp_path / "run"), epochs=2)
    assert not torch.backends.cudnn.allow_tf32, "training allowed TF32 without --tf32"
    assert progress.epoch == 2 and progress.total_steps == 4

    records = [json.loads(line) for line in (folder.path / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "step" in r] == [1, 2, 3, 4]
    assert all("threshold" in r["protocol"] for r in records if "pck" in r)
    saved = json.loads(folder.config.read_text())
    assert saved["training"]["epochs"] == 2 and saved["model"]["backbone"] == "resnet18"
    assert list(folder.tensorboard.glob("events.*"))


def _two_steps(pictures: list[Path]) -> dict[str, object]:
    settings = {"epochs": 1, "pairs": 4, "batch_size": 2, "weights": "random"}
    return {"synthetic": str(pictures[0].parent), **settings}


def test_a_run_that_is_killed_before_its_first_save_can_be_resumed(
    tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.replace(branches=("local",), **ONE_BRANCH)
    whole, expected = start_run(str(tmp_path / "whole"), config, _two_steps(pictures))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", _kill)
        with pytest.raises(SystemExit):
            start_run(str(tmp_path / "killed"), config, _two_steps(pictures))
    folder = RunFolder(tmp_path / "killed")
    assert not folder.state.exists()
    with pytest.raises(UsageError, match="already holds a run"):
        start_run(str(folder.path), config, _two_steps(pictures))
    assert resume_run(str(folder.path), None)[1] == expected
    assert folder.last.read_bytes() == whole.last.read_bytes()


def _kill(*_: object) -> None:
    raise SystemExit(137)


def test_a_run_that_is_killed_while_it_is_set_up_can_be_begun_again(
    tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, path = CONFIG.replace(branches=("local",), **ONE_BRANCH), str(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_config", lambda *_: _kill())
        with pytest.raises(SystemExit):
            start_run(path, config, _two_steps(pictures))
    with pytest.raises(CheckpointError, match="no training run"):
        resume_run(path, None)
    assert start_run(path, config, _two_steps(pictures))[1].epoch == 1


def test_a_second_process_in_a_run_is_refused_and_changes_nothing(
    tmp_path: Path, pictures: list[Path]
) -> None:
    config, path = CONFIG.replace(branches=("local",), **ONE_BRANCH), tmp_path / "run"
    start_run(str(path), config, _two_steps(pictures))
    scratch = path / ".dcc-abcd1234"
    scratch.mkdir()
    with folder_lock(path, "first", "wait", print):
        before = {file.name: file.stat().st_mtime_ns for file in path.iterdir()}
        refused = pytest.raises(DccError, match=r"another process is training in .* \(process \d+ on ")
        with refused:
            resume_run(str(path), 2)
        with refused:
            check_free(str(path))
        assert {file.name: file.stat().st_mtime_ns for file in path.iterdir()} == before


def test_damaged_runs_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match="no training run"):
        folder.read_config()
    folder.config.write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        folder.read_config()
    folder.write_config(CONFIG, settings())
    whole = folder.config.read_text()
    for old, new, message in (
        ('"epochs": 2', '"epochs": "2"', r"training\.epochs must be int, got str"),
        ('"context_kernel": 5', '"context_kernel": 4', "model: context_kernel must be odd"),
        ('"epochs": 2', '"eras": 2', r"training\.eras is unknown"),
    ):
        assert old in whole
        folder.config.write_text(whole.replace(old, new))
        with pytest.raises(CheckpointError, match=message):
            folder.read_config()


def test_a_damaged_state_is_refused(pairs: list[Pair], tmp_path: Path) -> None:
    run, _ = trainer(build(CONFIG), pairs, tmp_path)
    with pytest.raises(CheckpointError, match="before its first save"):
        run.restore()
    run.folder.state.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="damaged"):
        run.restore()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"synthetic": None}, "--data"),
        ({"data": "list.csv"}, "--data"),
        ({"batch_size": 1}, "at least 2"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings(**changes)


def test_validation_pairs_come_from_held_out_photographs(tmp_path: Path, pictures: list[Path]) -> None:
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(pictures[0].read_bytes())
    training, validation, _ = datasets(ModelConfig(), settings(synthetic=str(tmp_path), pairs=8))
    assert not {p.category for p in training} & {p.category for p in validation}
    pair = validation[0]
    assert pair.source_points is not None
    assert pair_pck(pair.source_points, pair.source_points, (400, 400), 0.1, "bbox") == 1


# How 4D convolutions are computed --------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "possible"),
    [("spectral", {"spectral"}), (None, {"paired"}), ("auto", set(TRAINING_LOWERINGS))],
)
def test_the_lowering_is_chosen_when_a_run_starts(
    requested: str | None, possible: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dccnet")
    options = {
        "synthetic": str(PICTURES),
        "pairs": 4,
        "weights": "random",
        "epochs": 1,
        "batch_size": 4,
        "conv4d": requested,
    }
    folder, _ = start_run(str(tmp_path / "run"), CONFIG, options)
    chosen = folder.read_config().training.conv4d
    assert chosen in possible
    assert ("the first step compiles them" in caplog.text) == (chosen in ("paired", "complex"))
    resume_run(str(folder.path), 2)


def test_timing_has_the_settings_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # so that the variable is restored
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen = []

    def timed(*_: object) -> str:
        seen.append((os.environ.get("NUMBA_CACHE_DIR"), torch.backends.cudnn.allow_tf32))
        return "stack"

    monkeypatch.setattr("dccnet.training.autotune.fastest_lowering", timed)
    options = {"synthetic": str(PICTURES), "weights": "random", "pairs": 4, "batch_size": 2, "epochs": 1}
    start_run(str(tmp_path / "run"), CONFIG, {**options, "conv4d": "auto", "tf32": False})
    assert seen == [(str(tmp_path / "dcc" / "numba"), False)]


def test_lowerings_train_the_same_network(pairs: list[Pair], tmp_path: Path) -> None:
    losses = {}
    for name in TRAINING_LOWERINGS:
        run, listener = trainer(build(CONFIG), pairs, tmp_path / name, conv4d=name)
        run.model.lower(TRAINING_LOWERINGS[name])
        run.folder.path.mkdir()
        run.run(listener)
        losses[name] = listener.losses
    assert len(losses["stack"]) == 6
    for name in TRAINING_LOWERINGS:
        np.testing.assert_allclose(losses[name], losses["stack"], atol=1e-4)


def test_large_volumes_train_in_frequencies() -> None:
    assert usual_lowering(DCCNet(PRESETS["dccnet"])) == "complex"
    wide = PRESETS["tiny"].replace(consensus_kernels=(5, 5))
    assert usual_lowering(DCCNet(wide)) == "spectral3"
    assert usual_lowering(DCCNet(PRESETS["tiny"])) == "paired"


def test_loops_for_cpus_are_not_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dccnet.training.autotune.is_supported", lambda device: False)
    gpu = torch.device("cuda")
    model = DCCNet(PRESETS["tiny"])
    assert lowering_of_run(None, model, 16, Processes(device=gpu)) == "stack"
    assert lowering_of_run("spectral", model, 16, Processes(device=gpu)) == "spectral"
    with pytest.raises(UsageError, match="paired computes on a CPU only: choose --device cpu"):
        lowering_of_run("paired", model, 16, Processes(device=gpu))
    # A run that began on a CPU.
    assert lowering_here("paired", model, gpu) == "stack"
    assert lowering_here("paired", model) == "paired"


def test_without_numba_training_has_other_lowerings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dccnet.training.autotune.find_spec", lambda name: None)
    model = DCCNet(PRESETS["tiny"])
    assert lowering_of_run(None, model, 16, Processes()) == "stack"
    assert lowering_here("paired", model) == "stack"
    assert usual_lowering(DCCNet(PRESETS["dccnet"])) == "spectral"
    with pytest.raises(UsageError, match="complex needs numba: pip install"):
        lowering_of_run("complex", model, 16, Processes())
    with pytest.raises(UsageError, match="paired needs numba: pip install"):
        lowering_of_run("paired", model, 16, Processes())
    with pytest.raises(UsageError, match="paired needs numba: pip install"):  # once, before processes start
        check_run("run", CONFIG, {"synthetic": str(PICTURES), "conv4d": "paired"})
