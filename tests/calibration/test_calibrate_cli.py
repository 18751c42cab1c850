"""``dcc calibrate`` from the command line: what it writes, what it refuses, and engines of its bundles."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.files import sha256
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.tensorrt.builder import BatchRange, BuildSettings, build_engine
from tests.helpers.bundles import Bundles
from tests.helpers.commands import Cli
from tests.helpers.crops import write_crops

TARGETS = ("sm80", "sm86", "sm89", "sm120")


@pytest.fixture(scope="module")
def crops(photos: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    write_crops(folder, photos, 9)
    return folder


@pytest.fixture(scope="module")
def int8(bundle: Bundle, crops: Path, tmp_path_factory: pytest.TempPathFactory, dcc: Cli) -> Path:
    path = tmp_path_factory.mktemp("int8") / "bundle"
    damaged = path.parent / "data"
    shutil.copytree(crops, damaged)
    (damaged / "05.png").write_bytes((crops / "05.png").read_bytes()[:200])
    (damaged / "09.png").write_bytes((crops / "00.png").read_bytes())
    result = dcc("calibrate", bundle.path, "--data", damaged, "-o", path, "--frames", "5")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(path)
    assert "05.png is truncated" in result.stderr or "05.png is not a picture" in result.stderr
    assert "1 near-duplicates left out; 1 that cannot be read left out" in result.stderr
    return path


def test_an_int8_bundle_is_a_bundle(int8: Path, bundle: Bundle, photos: list[Image], dcc_here: Cli) -> None:
    opened = Bundle.open(int8)
    made = opened.manifest.calibration
    assert opened.manifest.precision == "float32+int8" and made is not None
    assert opened.manifest.graphs["encoder"].precision == "float32+int8"
    assert opened.manifest.graphs["encoder"].layers["convolution"] == {"float32": 1, "int8": 15}
    assert opened.manifest.graphs["matcher"] == bundle.manifest.graphs["matcher"]
    assert len(made.layers) == 15 and all(name.startswith("backbone.") for name in made.layers)
    assert made.made_from == {"encoder": bundle.manifest.graphs["encoder"].sha256}
    assert made.table_sha256 == sha256(int8 / made.table) and made.frames == 5
    assert made.agreement.pairs == 3 and 0 < made.agreement.changed_cells < 0.5
    sizes = [(folder / "encoder.onnx").stat().st_size for folder in (int8, bundle.path)]
    assert sizes[0] < 0.35 * sizes[1]
    a, b = photos[:2]
    found, true = (Matcher.open(path).match(a, b) for path in (int8, bundle))
    assert (found.index_a == true.index_a).mean() > 0.5
    info = dcc_here("info", int8)
    assert "15 layers, laid out for tensorrt; ranges by mse on 5 frames" in info.stdout


def test_the_table_is_readable_and_can_be_used_again(
    int8: Path, bundle: Bundle, crops: Path, tmp_path: Path, dcc_here: Cli
) -> None:
    values = json.loads((int8 / "calibration.json").read_text())
    assert values["graphs"] == {"encoder": bundle.manifest.graphs["encoder"].sha256}
    assert values["frames"][0]["name"].endswith("00.png")
    ranges = values["ranges"]["encoder"].values()
    assert all(set(each["signed"]) == {"minmax", "entropy", "percentile", "mse"} for each in ranges)
    arguments = ("--table", int8 / "calibration.json", "--check", crops, "-o", tmp_path / "again", "--json")
    result = dcc_here("calibrate", bundle.path, *arguments)
    assert result.returncode == 0, result.stderr
    again = json.loads(result.stdout)["graphs"]["encoder"]["sha256"]
    assert again == Bundle.open(int8).manifest.graphs["encoder"].sha256  # the same ranges, the same graph
    cpu = dcc_here("calibrate", bundle.path, *arguments, "--target", "cpu", "--method", "percentile")
    assert cpu.returncode == 0, cpu.stderr
    assert json.loads(cpu.stdout)["calibration"]["target"] == "cpu"
    assert json.loads(cpu.stdout)["graphs"]["encoder"]["sha256"] != again


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_engines_multiply_bytes_where_the_graph_does(
    precision: str, int8: Path, bundles: Bundles, crops: Path, tmp_path: Path, dcc_here: Cli
) -> None:
    """According to the library's report of its kernels, for every generation of GPUs."""
    pytest.importorskip("tensorrt_rtx")
    from dccnet.runtime.tensorrt.library import RTX, load_library

    path = int8
    if precision == "float16":
        half = bundles("float16", "spectral")
        path = tmp_path / "half-int8"
        result = dcc_here("calibrate", half.path, "--fp16", "--data", crops, "--frames", "4", "-o", path)
        assert result.returncode == 0, result.stderr
    opened = Bundle.open(path)
    assert opened.manifest.precision == f"{precision}+int8"
    settings = BuildSettings(batch=BatchRange(1, 1, 8), targets=TARGETS)
    graph = opened.manifest.graphs["encoder"]
    engine = build_engine(
        load_library(RTX), "encoder", graph, opened.graph_path("encoder"), settings, lambda phase: None
    )
    assert engine.record.precision == f"{precision}+int8"
    assert engine.record.layers["convolution"] == {precision: 1, "int8": 15}
    kernels = [
        layer for layer in engine.layers if layer.kind == "convolution" and layer.precision == "int8"
    ]
    for kernel in kernels:
        assert kernel.inputs[:2] == ("int8", "int8")  # what it convolves, and its weights


def test_a_plan_keeps_its_budget_and_serves_the_half_bundle(
    bundle: Bundle, bundles: Bundles, crops: Path, tmp_path: Path, dcc_here: Cli
) -> None:
    def search(name: str) -> dict[str, Any]:
        report = tmp_path / name
        arguments = ("--data", crops, "--frames", "3", "--pairs", "3", "--budget", "12", "--level", "stage")
        result = dcc_here(
            "calibrate", bundle.path, *arguments, "--report", report, "-o", tmp_path / "planned"
        )
        assert result.returncode == 0, result.stderr
        assert "the plan, together" in result.stdout and "backbone.layer2" in result.stdout
        assert read_image(report / "sensitivity.png").shape[1] > 500
        plan: dict[str, Any] = json.loads((report / "plan.json").read_text())
        for row in plan["sensitivity"]:
            assert row.pop("ms_saved") is not None  # a time, and no two are the same
        return plan

    plan = search("first")
    assert plan == search("second")
    assert (
        100 * plan["agreement"]["changed_cells"] <= 12 and plan["budget"]["unit"] == "% of changed matches"
    )
    assert [row["group"] for row in plan["sensitivity"]] == [
        f"backbone.{n}" for n in ("conv1", "layer1", "layer2", "layer3")
    ]
    # 7x7 kernels of 3 channels to 64, for 48x40 pixels.
    assert plan["sensitivity"][0]["macs"] == 49 * 3 * 64 * 48 * 40
    assert plan["sensitivity"][0]["bytes_saved"] == 3 * 49 * 3 * 64
    assert set(plan["layers"]) == {
        n for row in plan["sensitivity"] if row["group"] in plan["groups"] for n in row["layers"]
    }
    made = Bundle.open(tmp_path / "planned").manifest.calibration
    assert made is not None and set(made.layers) == set(plan["layers"])
    half = bundles("float16", "spectral")
    result = dcc_here(
        "calibrate", half.path, "--data", crops, "--frames", "4", "-o", tmp_path / "half",
        "--plan", tmp_path / "first" / "plan.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    made = Bundle.open(tmp_path / "half").manifest.calibration
    assert made is not None and set(made.layers) == set(plan["layers"])


# What is refused --------------------------------------------------------------------------------


def refused(dcc_here: Cli, output: Path, *arguments: str | Path, code: int = 1) -> str:
    """The error message, after checks that it is one sentence and that nothing was written."""
    result = dcc_here("calibrate", *arguments, "-o", output)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr and not output.exists()
    assert not [path for path in output.parent.iterdir() if path.name.startswith(".dcc-")]
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("dcc: ")
    return line


def test_without_frames(bundle: Bundle, tmp_path: Path, dcc_here: Cli) -> None:
    assert "--data" in refused(dcc_here, tmp_path / "o", bundle.path, code=2)
    (tmp_path / "empty").mkdir()
    assert "no pictures" in refused(dcc_here, tmp_path / "o", bundle.path, "--data", tmp_path / "empty")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"nothing")
    assert "none of its 1 frames" in refused(
        dcc_here, tmp_path / "o", bundle.path, "--data", tmp_path / "bad"
    )


def test_frames_that_are_all_the_same(bundle: Bundle, crops: Path, tmp_path: Path, dcc_here: Cli) -> None:
    for name in "abc":
        shutil.copy(crops / "00.png", tmp_path / f"{name}.png")
    line = refused(dcc_here, tmp_path / "o", bundle.path, "--data", tmp_path / "*.png")
    assert "all 3 frames" in line and "show the same" in line


def test_values_that_are_not_finite(bundle: Bundle, crops: Path, tmp_path: Path, dcc_here: Cli) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle.path, broken)
    model = onnx.load(str(broken / "encoder.onnx"))
    weight = next(w for w in model.graph.initializer if w.name.endswith("layer1.0.conv1.weight"))
    values = numpy_helper.to_array(weight).copy()
    values[0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, str(broken / "encoder.onnx"))
    graph = dataclasses.replace(bundle.manifest.graphs["encoder"], sha256=sha256(broken / "encoder.onnx"))
    graphs = bundle.manifest.graphs | {"encoder": graph}
    write_manifest(broken, dataclasses.replace(bundle.manifest, graphs=graphs))
    line = refused(dcc_here, tmp_path / "o", broken, "--data", crops)
    assert "not finite" in line and "00.png" in line


def test_tables_and_plans_of_something_else(
    int8: Path, bundles: Bundles, crops: Path, tmp_path: Path, dcc_here: Cli
) -> None:
    other = bundles("float16", "spectral").path
    table = int8 / "calibration.json"
    assert "another network" in refused(dcc_here, tmp_path / "o", other, "--table", table, "--check", crops)
    (tmp_path / "plan.json").write_text(
        '{"schema": 2, "precision": "int8", "layers": ["backbone.block0.expand.conv"]}'
    )
    line = refused(dcc_here, tmp_path / "o", other, "--data", crops, "--plan", tmp_path / "plan.json")
    assert "plan of another network" in line and "backbone.block0.expand.conv" in line
    assert "INT8 already" in refused(dcc_here, tmp_path / "o", int8, "--data", crops)


def test_a_budget_that_nothing_meets(bundle: Bundle, crops: Path, tmp_path: Path, dcc_here: Cli) -> None:
    arguments = ("--data", crops, "--frames", "2", "--pairs", "2", "--level", "stage", "--budget", "0")
    line = refused(dcc_here, tmp_path / "o", bundle.path, *arguments, "--method", "entropy", code=3)
    assert "nothing can be INT8 within a budget of 0" in line and "raise --budget" in line


def test_fp16_requires_a_half_bundle_and_other_folders_are_kept(
    bundle: Bundle, crops: Path, tmp_path: Path, dcc_here: Cli
) -> None:
    assert "dcc export --fp16" in refused(
        dcc_here, tmp_path / "o", bundle.path, "--data", crops, "--fp16", code=2
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    result = dcc_here("calibrate", bundle.path, "--data", crops, "-o", tmp_path / "mine")
    assert result.returncode == 2 and (tmp_path / "mine" / "letter.txt").read_text() == "dear"
