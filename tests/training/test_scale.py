"""Training in parts, in several processes, after a kill, in bfloat16, and with features on disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dccnet.evaluation.pairs import Pair, Picture
from dccnet.export.bundles.samples import PICTURES
from dccnet.network.loss import weak_loss
from dccnet.runtime.child import child_command
from dccnet.runtime.errors import UsageError
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.messages import show_messages
from dccnet.training.batches import Batches
from dccnet.training.feature_files import FeatureFiles
from dccnet.training.features import FeatureCache
from dccnet.training.objective import Objective, gather
from dccnet.training.processes import Processes, processes
from dccnet.training.reporting import NullReport
from dccnet.training.settings import RunFolder, TrainSettings
from dccnet.training.synthetic import synthetic_pairs
from dccnet.training.trainer import Trainer
from dccnet.weights.checkpoint import load_checkpoint
from tests.helpers.commands import Cli
from tests.helpers.networks import SMALL, build, decisive

CONFIG = SMALL.replace(image_size=(64, 64))
SMALL_RUN = [
    "--preset=tiny", "--set=backbone=resnet18", "--set=image_size=[64,64]", "--set=context_kernel=3",
    "--set=context_channels=8", "--set=consensus_channels=[2,1]", "--set=consensus_kernels=[3,3]",
    "--weights=random", "--batch-size=4", "--device=cpu", "--warps=0.01", "--opposite=0.5", "--average=0.9",
    "--conv4d=stack",  # the usual one would be compiled, and loaded, in every process
]  # fmt: skip


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings(**({"synthetic": "photos", "batch_size": 4, "learning_rate": 1e-3} | changes))


@pytest.fixture(scope="module")
def pairs(pictures: list[Path]) -> list[Pair]:
    return synthetic_pairs(pictures, 8, seed=3, size=(64, 64))


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of a run with three steps per epoch (4, 4 and 2 pairs) and three validation pairs."""
    names = [path.name for path in sorted(PICTURES.glob("*.jpg"))]
    rows = [f"{names[i % len(names)]},{names[(i + 1) % len(names)]},{i % 3},{i % 2}" for i in range(10)]
    known = [f"{names[0]},{name},1,9;40,9;50,12;60,10;44" for name in names[1:4]]
    folder = tmp_path_factory.mktemp("lists")
    (folder / "train.csv").write_text("\n".join(["source_image,target_image,class,flip", *rows]) + "\n")
    (folder / "known.csv").write_text(
        "\n".join(["source_image,target_image,class,XA,YA,XB,YB", *known]) + "\n"
    )
    lists = [f"--data={folder}/train.csv", f"--validate={folder}/known.csv", f"--root={PICTURES}"]
    return [*SMALL_RUN, *lists]


def losses(run: Path) -> list[float]:
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if "loss" in record]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "last.safetensors").state_dict()


# A batch in parts ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 4])
def test_parts_of_a_batch_add_up_to_its_gradient(pairs: list[Pair], size: int) -> None:
    options = settings(warps=0.1, supervised=0.2, opposite=0.5)
    model = decisive(build(CONFIG)).double()
    model.backbone.float()
    features = FeatureCache(model, 10**9)
    objective = Objective(model, options)
    batch = Batches(pairs, options, CONFIG.image_size).of_epoch(0)[0]

    def gradient(step: int) -> list[torch.Tensor]:
        model.zero_grad()
        for start in range(0, len(batch), step):
            samples = batch[start : start + step]
            loss, _ = objective(gather(samples, features, options, model.grid))
            (loss * len(samples) / len(batch)).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    whole = gradient(len(batch))
    assert len(whole) == len([p for p in model.parameters() if p.requires_grad])
    for part, expected in zip(gradient(size), whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-7)


def test_the_objective_alone_is_the_weak_loss(pairs: list[Pair]) -> None:
    options = settings()
    model = decisive(build(CONFIG))
    features = FeatureCache(model, 10**9)
    batch = Batches(pairs, options, CONFIG.image_size).of_epoch(0)[0]
    loss, scores = Objective(model, options)(gather(batch, features, options, model.grid))
    source, target = (
        model.branch_features(model.local_features(features.batch(pictures)))
        for pictures in ([s.pair.source for s in batch], [s.pair.target for s in batch])
    )
    expected = weak_loss(model, source, target)
    torch.testing.assert_close(loss, expected.loss)
    torch.testing.assert_close(scores, torch.stack([expected.positive, expected.negative]))


# Several processes -----------------------------------------------------------------------------


@pytest.mark.parametrize(("items", "count"), [(10, 3), (2, 4), (0, 2), (7, 1)])
def test_shares_are_the_whole_in_order(items: int, count: int) -> None:
    shares = [Processes(rank, count).share(range(items)) for rank in range(count)]
    assert [item for share in shares for item in share] == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.fixture(scope="module")
def alone(dcc: Cli, small_run: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs in one process."""
    run = tmp_path_factory.mktemp("alone") / "run"
    assert dcc("train", *small_run, "--epochs=2", "-o", run).returncode == 0
    return run


def test_two_processes_train_as_one_does_and_one_continues(
    dcc_here: Cli, small_run: list[str], alone: Path, tmp_path: Path
) -> None:
    """Two processes (gloo) train the first epoch, one process resumes and trains the second.

    The processes run this package, whatever is in the current folder.
    """
    for name in ("cli.py", "runtime.py", "dccnet.py", "dccnet/__init__.py", "dccnet/__main__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)\n")
    command = child_command("dccnet", "train", *small_run, "--epochs=1", "--nproc=2", "-o", "run")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    began = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert began.returncode == 0, began.stderr
    assert not (tmp_path / "imported").exists()
    assert began.stdout.splitlines() == [str(Path("run") / "best.safetensors")]
    assert began.stderr.count("before training: validation PCK") == 1
    run = tmp_path / "run"
    assert len(list((run / "tensorboard").iterdir())) == 1, "both processes logged"
    assert dcc_here("train", "--resume", run, "--epochs=2").returncode == 0
    np.testing.assert_allclose(losses(run), losses(alone), atol=1e-4)
    found = weights(run)
    for name, expected in weights(alone).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-4, msg=name)


def test_torchrun_starts_it_too(small_run: list[str], alone: Path, tmp_path: Path) -> None:
    """Three processes share batches of four, then of two, in which one process has no pair."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=3", "-m", "dccnet", "train"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *small_run, "--epochs=1", "--micro-batch=1", "-o", run],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(losses(run), losses(alone)[:3], atol=1e-4)


def test_several_processes_report_an_error_once(
    dcc: Cli, dcc_here: Cli, small_run: list[str], tmp_path: Path
) -> None:
    missing = dcc_here("train", "--data", tmp_path / "no.csv", "--nproc=2", "-o", tmp_path / "run")
    assert missing.returncode == 1
    assert missing.stderr.count("does not exist") == 1 and "Traceback" not in missing.stderr
    again = dcc("train", *small_run, "--learning-rate=1e9", "--nproc=2", "-o", tmp_path / "diverged")
    assert again.returncode == 1
    assert again.stderr.count("lower --learning-rate") == 1, again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_refused() -> None:
    with pytest.raises(UsageError, match="--device cpu"), processes("cuda"):
        pass


# Killed ----------------------------------------------------------------------------------------


def test_killed_at_any_moment_it_continues_to_the_same_end(
    dcc: Cli, small_run: list[str], alone: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "dccnet", "train"]
    arguments = [*small_run, "--epochs=2", "--save-every=1", "-o", str(run)]
    chance = random.Random(time.time_ns())
    kills = 0
    while kills < 2:
        process = subprocess.Popen(
            [*command, *arguments], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while process.poll() is None and not (run / "last.state.pt").exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 2.0))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break  # it finished before the kill
        kills += 1
        for name in ("last", "start"):
            load_checkpoint(run / f"{name}.safetensors")
        arguments = ["--resume", str(run)]
    assert dcc("train", "--resume", run).returncode == 0
    assert losses(run) == losses(alone), f"after {kills} kills"
    found = weights(run)
    for name, expected in weights(alone).items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=0, msg=name)
    assert not list(run.glob(".dcc-*"))


# Half precision and memory ---------------------------------------------------------------------


def test_bfloat16_points_the_same_way(pairs: list[Pair]) -> None:
    """The gradients agree in direction, and the float32 islands keep the loss in float32."""
    gradients, values = [], []
    for precision in ("fp32", "bf16"):
        options = settings(precision=precision, warps=0.1)
        model = decisive(build(CONFIG))
        features = FeatureCache(model, 10**9)
        batch = Batches(pairs, options, CONFIG.image_size).of_epoch(0)[0]
        loss, _ = Objective(model, options)(gather(batch, features, options, model.grid))
        assert loss.dtype == torch.float32
        loss.backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in trained)
        gradients.append(torch.cat([p.grad.flatten() for p in trained if p.grad is not None]))
        values.append(float(loss.detach()))
    assert values[1] == pytest.approx(values[0], rel=0.02) and values[1] != values[0]
    assert float(torch.cosine_similarity(gradients[0], gradients[1], dim=0)) > 0.99


@pytest.mark.parametrize("on", ["on", "off"])
def test_checkpointing_changes_no_digit(pairs: list[Pair], tmp_path: Path, on: str) -> None:
    """In float64, because recomputing may round differently, and Adam amplifies tiny gradients."""
    ran = []
    for name, checkpointing in (("auto", "auto"), (on, on)):
        folder = tmp_path / name
        options = settings(epochs=1, checkpointing=checkpointing)
        trainer = Trainer(decisive(build(CONFIG)).double(), pairs, [], options, RunFolder(folder))
        trainer.run(NullReport())
        ran.append(weights(folder))
    for name, expected in ran[0].items():
        torch.testing.assert_close(ran[1][name], expected, rtol=0, atol=1e-6, msg=name)


# Blocks of the backbone ------------------------------------------------------------------------


def test_the_last_blocks_are_trained_and_the_others_are_not(pairs: list[Pair], tmp_path: Path) -> None:
    options = settings(epochs=1)
    model = decisive(build(CONFIG))
    model.backbone.unfreeze(1)
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    Trainer(model, pairs, [], options, RunFolder(tmp_path)).run(NullReport())
    changed = {n for n, t in model.backbone.state_dict().items() if not torch.equal(t, before[n])}
    assert changed and all(name.startswith("trunk.layer3.1.") for name in changed)
    assert not any("running" in name for name in changed)


def test_too_many_blocks_are_refused(dcc_here: Cli, small_run: list[str], tmp_path: Path) -> None:
    refused = dcc_here("train", *small_run, "--finetune-blocks=9", "-o", tmp_path / "run")
    assert refused.returncode == 2 and "2 blocks" in refused.stderr
    assert not (tmp_path / "run").exists()


# Features on disk ------------------------------------------------------------------------------


class Counted:
    """Loads a picture and counts the calls."""

    def __init__(self, picture: Picture) -> None:
        self.load, self.times = picture.load, 0

    def __call__(self) -> np.ndarray:
        self.times += 1
        return self.load()


def test_features_on_disk_serve_later_runs_and_are_mapped(pairs: list[Pair], tmp_path: Path) -> None:
    model = build(CONFIG)
    load = Counted(pairs[0].source)
    picture = Picture("one", load)
    frozen = list(model.backbone.state_dict().items())

    def cache(
        network: Any = frozen, size: tuple[int, int] = (64, 64), dtype: str = "float32"
    ) -> FeatureCache:
        return FeatureCache(model, 0, FeatureFiles(tmp_path, network, FrameFormat(size, dtype)))

    first = cache().batch([picture])
    torch.testing.assert_close(cache().batch([picture]), first, rtol=0, atol=0)
    assert load.times == 1 and cache().size(picture) == (64, 64)
    cache(size=(64, 80)).batch([picture])
    cache([(n, t + 1) for n, t in frozen]).batch([picture])
    cache(dtype="uint8").batch([picture])
    assert load.times == 4, "another size, other weights and other frames have other features"
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-5])
    torch.testing.assert_close(cache().batch([picture]), first, rtol=0, atol=0)
    assert load.times == 5, "a damaged file is computed again"


def test_features_belong_to_a_files_content_not_its_place(tmp_path: Path, pictures: list[Path]) -> None:
    from dccnet.evaluation.pairs import file_picture

    model = build(CONFIG)
    one, two = tmp_path / "one.jpg", tmp_path / "two.jpg"
    one.write_bytes(pictures[0].read_bytes())
    two.write_bytes(pictures[0].read_bytes())

    def computed(path: Path, flip: bool = False) -> int:
        weights = model.backbone.state_dict().items()
        files = FeatureFiles(tmp_path / "cache", weights, FrameFormat((64, 64), "float32"))
        cache = FeatureCache(model, 0, files)
        cache.batch([file_picture(path, flip)])
        return cache.computed

    assert [computed(one), computed(two), computed(two, flip=True), computed(one, flip=True)] == [
        1,
        0,
        1,
        0,
    ]
    one.write_bytes(pictures[1].read_bytes())
    assert computed(one) == 1


def test_a_full_disk_costs_only_the_cache(
    pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_messages()
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    model = build(CONFIG)
    cache = FeatureCache(model, 0, FeatureFiles(blocked, [], FrameFormat((64, 64), "float32")))
    cache.batch([pairs[0].source, pairs[0].target])
    assert capsys.readouterr().err.count("no longer kept on disk") == 1
