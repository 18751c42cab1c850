"""``dcc bench``: a row for each bundle and backend."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dccnet.calibration import agreement
from dccnet.calibration.agreement import AgreementTest, Prediction
from dccnet.calibration.bench import measure
from dccnet.calibration.bench.alone import load_alone
from dccnet.calibration.bench.commands import _usable_backends
from dccnet.calibration.bench.measure import _agreement
from dccnet.calibration.bench.rows import Latency
from dccnet.calibration.bench.tables import markdown
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError
from dccnet.runtime.pixel_limit import MAX_PIXELS, set_max_pixels
from dccnet.runtime.selection import BackendChoice
from tests.helpers.bundles import Bundles
from tests.helpers.commands import Cli
from tests.helpers.emulation import emulated


def test_rows_are_measured_and_those_that_cannot_run_say_why(
    bundle: Bundle, bundles: Bundles, tmp_path: Path, dcc: Cli
) -> None:
    other = bundles("float16", "spectral").path
    result = dcc(
        "bench", bundle.path, other, "--rounds", "3", "--json",
        "--backend", "onnxruntime", "--backend", "tensorrt",
        "-o", tmp_path / "bench.md", "-o", tmp_path / "bench.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert json.loads((tmp_path / "bench.json").read_text()) == values
    assert values["environment"]["tools"]["onnxruntime"] and values["environment"]["cores"] >= 1
    assert len(values["rows"]) == 4
    first, engine, half, _ = values["rows"]
    assert first["agreement"]["changed_cells"] == 0 and first["agreement"]["pck"] is None
    assert half["precision"] == "float16" and half["lowering"] == "spectral"
    assert 0 <= half["agreement"]["changed_cells"] < 0.5
    assert (
        first["megabytes"]
        == sum((bundle.path / f"{n}.onnx").stat().st_size for n in ("encoder", "matcher")) / 1e6
    )
    for row in (first, half):
        assert row["problem"] is None and row["load_s"] > 0 and row["peak_mb"] > 0
        assert 0 < row["encoder"]["median"] <= row["encoder"]["p95"]
        assert row["frames_per_s"] > row["pairs_per_s"] > 0
    table = (tmp_path / "bench.md").read_text()
    assert table.count("| ONNX Runtime") == 2 and "* processor: " in table
    if engine["problem"] is not None:  # there is no GPU
        assert engine["encoder"] is None and engine["problem"] in table
        assert "Traceback" not in result.stderr


def test_tensorrt_has_a_row_only_where_there_is_a_gpu_or_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    monkeypatch.setattr("dccnet.runtime.cuda.cuda_problem", lambda: "CUDA finds no GPU")
    assert _usable_backends(notes.append) == ["onnxruntime"]
    assert notes == ["onnxruntime alone, because CUDA finds no GPU"]
    monkeypatch.setattr("dccnet.runtime.cuda.cuda_problem", lambda: None)
    assert _usable_backends(notes.append) == ["onnxruntime", "tensorrt"] and len(notes) == 1


def test_no_row_at_all_is_a_failure(bundle: Bundle, dcc: Cli) -> None:
    result = dcc("bench", bundle.path, "--backend", "onnxruntime", "--device", "cuda:99")
    assert result.returncode == 1 and "no row could run" in result.stderr.splitlines()[-1]


def test_bad_arguments_of_bench(bundle: Bundle, tmp_path: Path, dcc: Cli) -> None:
    for arguments, code, said in (
        ((bundle.path, "-o", tmp_path / "a.xlsx"), 2, ".md or .json"),
        ((tmp_path / "none",), 1, "does not exist"),
        ((bundle.path, "--data", tmp_path / "none.csv"), 1, "does not exist"),
    ):
        result = dcc("bench", *arguments)
        assert result.returncode == code and said in result.stderr.splitlines()[-1], result.stderr


def test_memory_is_measured_whatever_the_current_folder_contains(
    bundle: Bundle, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "runtime", "resource", "commands", "dccnet"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the current folder was imported')")
    (tmp_path / "dccnet").mkdir()
    (tmp_path / "dccnet" / "__init__.py").write_text("raise SystemExit('the current folder was imported')")
    monkeypatch.chdir(tmp_path)
    choice = BackendChoice("onnxruntime", "cpu")
    seconds, megabytes = load_alone(str(bundle.path), choice, (str(pictures[0]), str(pictures[1])))
    assert seconds > 0 and megabytes > 0


def test_the_limit_for_pictures_also_holds_where_memory_is_measured(
    bundle: Bundle, pictures: list[Path]
) -> None:
    set_max_pixels(1000)
    try:
        with pytest.raises(DccError, match="more than 1000"):
            load_alone(
                str(bundle.path),
                BackendChoice("onnxruntime", "cpu"),
                (str(pictures[0]), str(pictures[1])),
            )
    finally:
        set_max_pixels(MAX_PIXELS)


def test_latencies_are_milliseconds() -> None:
    assert Latency.of([0.1, 0.2, 0.3]) == Latency(pytest.approx(200.0), pytest.approx(290.0))


def test_networks_of_different_grids_are_timed_and_not_compared() -> None:
    cells = np.zeros((3, 4), np.int64)
    test = AgreementTest((), [Prediction(cells, cells, None)])
    other: Any = SimpleNamespace(manifest=SimpleNamespace(grid=(5, 5)))
    with pytest.raises(DccError, match="its grid is 5x5 cells, not 3x4"):
        test.measure(other)
    notes: list[str] = []
    assert _agreement(test, other, Path("bundle"), notes.append) is None
    assert notes == ["bundle: its grid is 5x5 cells, not 3x4: matches are not comparable"]


def test_engines_have_times_on_the_gpu_beside_those_of_the_host(
    bundle: Bundle, photos: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "load_alone", lambda *arguments: (1.0, 2.0))  # the emulation is here
    choices = [BackendChoice("onnxruntime", "cpu"), BackendChoice("tensorrt", "cuda:0")]
    pairs = [agreement.TestPair(photos[0], photos[1])]
    with emulated(tmp_path / "cache") as machine:
        plain, engine = measure.bench([bundle.path], choices, pairs, ("a", "b"), 3)
        launches = machine.cuda.launches
    assert engine.problem is None, engine.problem
    # The emulation's clock: 1.5 ms between any two events. Here these are around 20 replayed runs.
    assert engine.encoder_gpu_ms == engine.matcher_gpu_ms == 1.5 / 20 and launches >= 40
    assert engine.encoder is not None and engine.encoder.median > 0
    assert plain.encoder_gpu_ms is None
    both, alone = (markdown(rows, {}, "") for rows in ([plain, engine], [plain]))
    assert "| on the GPU, ms |" in both and "| 0.07 + 0.07 |" in both and "GPU, ms" not in alone
    assert len({line.count("|") for line in both.splitlines() if line.startswith("|")}) == 1
