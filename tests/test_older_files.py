"""Files that version 0.1 wrote are read: tests/data/files-of-0.1.md says what made them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dccnet.export.bundles.samples import PICTURES
from dccnet.network.config import ModelConfig
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.tensorrt.plan import read_sidecar
from dccnet.training.ablation import plan as sweep_plan
from dccnet.training.settings import RunFolder
from dccnet.weights.checkpoint import load_checkpoint
from tests.helpers.commands import Cli
from tests.helpers.paths import DATA

BUNDLES = {"bundle": "float32", "half": "float16", "int8": "float32+int8", "half-plan": "float16"}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(DATA / "files-of-0.1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "files-of-0.1"


def test_checkpoints(old: Path) -> None:
    model = load_checkpoint(old / "checkpoint.safetensors")
    assert model.config == ModelConfig(
        backbone="resnet18", image_size=(64, 80), context_kernel=3, context_channels=4,
        consensus_kernels=(3, 3), consensus_channels=(2, 1),
    )  # fmt: skip
    with torch.no_grad():
        scores = model(*torch.rand(2, 1, 3, 64, 80)).scores
    torch.testing.assert_close(scores.on_a.sum(2), torch.ones(1, 20))


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_match_as_they_did(old: Path, name: str) -> None:
    bundle = Bundle.open(old / name)
    assert bundle.manifest.precision == BUNDLES[name] and bundle.manifest.verified
    a, b = (read_image(PICTURES / f"{picture}.jpg") for picture in ("astronaut", "cat"))
    result = Matcher.open(bundle, backend="onnxruntime", device="cpu").match(a, b)
    expected = json.loads((old / f"{name}-matches.json").read_text())
    for direction, matches in (
        ("a_to_b", result.matches("a", rule="cells")),
        ("b_to_a", result.matches("b", rule="cells")),
    ):
        for found, points in ((matches.points_a, "points_a"), (matches.points_b, "points_b")):
            same = (np.abs(found - np.array(expected[direction][points])) < 0.01).all(axis=1).mean()
            assert same >= 0.9  # other CPUs and versions of ONNX Runtime round otherwise
    assert result.window_a is None  # points are placed by heat maps, if there are any
    assert result.rule == ("cells" if result.heatmap_a is None else "subcell")
    plain = dataclasses.replace(result, heatmap_a=None, heatmap_b=None)
    cells = result.matches("a", rule="cells")
    assert plain.rule == "cells"
    np.testing.assert_array_equal(plain.matches("a").points_b, cells.points_b)
    assert plain.to_dict()["transfer"] == "cells"


@pytest.mark.parametrize(("name", "precision"), [("plan-int8", "float32+int8"), ("plan-half", "float16")])
def test_plans_are_applied_without_frames(
    dcc: Cli, old: Path, tmp_path: Path, name: str, precision: str
) -> None:
    options = [] if name == "plan-int8" else ["--precision", "fp16"]
    plan = old / name / "plan.json"
    done = dcc("calibrate", old / "bundle", *options, "--plan", plan, "-o", tmp_path / "new", "--pairs", 1)
    assert done.returncode == 0, done.stderr
    assert Bundle.open(tmp_path / "new").manifest.precision == precision


def test_runs_go_on(dcc_here: Cli, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(old / "run", tmp_path / "run")
    (tmp_path / "bundles").mkdir()  # where the run's photographs were, relative to its folder
    (tmp_path / "bundles" / "pictures").symlink_to(PICTURES)
    settings = RunFolder(tmp_path / "run").read_config().training
    assert settings.epochs == 1 and settings.conv4d == "stack"
    monkeypatch.chdir(tmp_path)
    done = dcc_here("train", "--resume", "run", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert max(line["epoch"] for line in lines) == 2
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").config.image_size == (64, 80)


def test_sidecars_of_engines(old: Path) -> None:
    for graph in ("encoder", "matcher"):
        sidecar = read_sidecar(old / "engines" / f"{graph}.tensorrt_rtx.engine")
        assert sidecar is not None
        record = sidecar.engine
        assert (record.graph, record.targets, record.batch) == (graph, ("sm86",), (1, 1, 1))
        assert sidecar.layers and record.inputs[0].shape[0] == "batch"


def test_the_plan_of_a_sweep(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(old)
    plan = sweep_plan.read_plan(old / "sweep")
    assert (plan.base, plan.tables, plan.seeds) == ("tiny", (4,), (1,))
    assert plan.training["batch_size"] == 16 and plan.model.context_kernel == 9
