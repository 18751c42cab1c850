"""``dcc tune``: what it measures, what may win, and what it leaves behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dccnet.calibration.tuning import agreement, candidates
from dccnet.calibration.tuning.command import tune_command
from dccnet.calibration.tuning.measure import choose
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import EngineError
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.runtime.tuning import opening
from dccnet.runtime.tuning.choice import USUAL, Measured, Way
from dccnet.runtime.tuning.kept import FILE, find
from tests.helpers.commands import Cli

OPENVINO, RTX = Way("openvino"), Way("tensorrt", "cuda")


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Bundle.open(shutil.copytree(bundle.path, tmp_path / "bundle"))


def times(encoder: Mapping[Way, float], matcher: Mapping[Way, float], wrong: Way | None = None) -> Any:
    return [
        Measured(name, way, value, 1.0, "it differs" if way == wrong else None)
        for name, values in (("encoder", encoder), ("matcher", matcher))
        for way, value in values.items()
    ]


@pytest.mark.parametrize(
    ("encoder", "matcher", "wrong", "chosen"),
    [
        ({USUAL: 10, OPENVINO: 6}, {USUAL: 5, OPENVINO: 9}, None, (OPENVINO, USUAL)),
        ({USUAL: 10, OPENVINO: 6}, {USUAL: 5, OPENVINO: 3}, OPENVINO, (USUAL, USUAL)),
        ({USUAL: 10, OPENVINO: 9.8}, {USUAL: 5, OPENVINO: 4.9}, None, (USUAL, USUAL)),  # noise
        ({USUAL: 10, RTX: 1}, {USUAL: 5, RTX: 8}, None, (RTX, RTX)),  # 9 ms together
        ({USUAL: 10, RTX: 1}, {USUAL: 5, RTX: 20}, None, (USUAL, USUAL)),
        ({USUAL: 10, RTX: 1}, {USUAL: 5}, None, (USUAL, USUAL)),
    ],
)
def test_the_fastest_that_agrees_is_chosen(encoder, matcher, wrong, chosen) -> None:
    assert choose(times(encoder, matcher, wrong)) == chosen


def test_the_command_measures_keeps_and_forgets(copied: Bundle) -> None:
    arguments = [str(copied.path), "--rounds", "3", "--threads", "1", "--json"]
    result = CliRunner().invoke(tune_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    ways = {(row["graph"], row["way"]["backend"], row["way"]["threads"]) for row in values["measured"]}
    assert {(graph, *way) for graph in ("encoder", "matcher") for way in
            (("onnxruntime", 0), ("onnxruntime", 1), ("openvino", 1))} == ways  # fmt: skip
    assert all(row["milliseconds"] > 0 and row["problem"] is None for row in values["measured"])
    choice, _ = find(copied)
    assert choice is not None and (copied.path / FILE).is_file()
    for name in ("encoder", "matcher"):
        of_graph = {row["way"]["backend"]: row for row in values["measured"] if row["graph"] == name}
        assert getattr(choice, name).backend in of_graph
    result = CliRunner().invoke(tune_command, [str(copied.path), "--reset"], catch_exceptions=False)
    assert result.exit_code == 0 and not (copied.path / FILE).exists()


def test_an_engine_that_answers_otherwise_does_not_win(
    copied: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = opening.OpenVinoGraph

    class Wrong(real):  # type: ignore[misc, valid-type]
        """As fast as nothing, and shifted by a cell."""

        def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
            if not hasattr(self, "kept"):
                self.kept = {
                    n: v * 1.01 if v.dtype != int else v - 1 for n, v in super().run(inputs).items()
                }
            return self.kept

    monkeypatch.setattr(opening, "OpenVinoGraph", Wrong)
    arguments = [str(copied.path), "--rounds", "3", "--threads", "1", "--json"]
    result = CliRunner().invoke(tune_command, arguments, catch_exceptions=False)
    rows = [row for row in json.loads(result.stdout)["measured"] if row["way"]["backend"] == "openvino"]
    assert len(rows) == 2 and all("differs by" in row["problem"] for row in rows)
    choice, _ = find(copied)
    assert choice is not None and {choice.encoder.backend, choice.matcher.backend} == {"onnxruntime"}


def test_an_engine_that_does_not_run_is_named(copied: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EngineError("it is broken")

    monkeypatch.setattr(opening, "OpenVinoGraph", fail)
    result = CliRunner().invoke(tune_command, [str(copied.path), "--rounds", "3"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "openvino" not in result.stdout


def test_int8_is_judged_by_what_int8_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in model's encoder is INT8, whose products OpenVINO rounds differently."""
    from dccnet.calibration.agreement import find_pairs
    from dccnet.export.bundles.samples import PICTURES
    from dccnet.runtime.models.names import open_bundle
    from dccnet.runtime.tuning.opening import open_graph

    bundle = open_bundle()
    graphs = [OnnxRuntimeGraph(bundle.graph_path(n), threads=1) for n in ("encoder", "matcher")]
    judge = agreement.Judge(bundle, *graphs, find_pairs(str(PICTURES), 2, bundle.manifest.image_size))
    encoder = open_graph(bundle, "encoder", Way("openvino", threads=1))
    assert judge.problem("encoder", encoder, False) is None
    monkeypatch.setattr(agreement, "INT8_SHARE", 0.0)
    assert "best matches differ" in str(judge.problem("encoder", encoder, False))


def test_ways_name_each_engine_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert candidates.ways_on_host([0], bf16=False) == [USUAL, OPENVINO]
    assert candidates.ways_on_host([0, 1], bf16=True)[0] == USUAL
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["DmlExecutionProvider"])
    monkeypatch.setattr(candidates, "_is_installed", lambda module: False)
    assert candidates.ways_on_host([0], bf16=True) == [USUAL, Way("onnxruntime", "directml")]


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_half_of_several_cores_is_tried_too(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "usable_cores", lambda: cores)
    assert candidates.usual_threads() == ([0, cores // 2] if cores >= 4 else [0])


def test_reset_measures_nothing(dcc: Cli, copied: Bundle) -> None:
    assert dcc("tune", copied.path, "--reset", "--bf16").returncode == 2
    done = dcc("tune", copied.path, "--reset")
    assert done.returncode == 0 and "no choice to forget" in done.stderr
