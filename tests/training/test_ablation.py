"""``dcc ablate``: the networks that it trains, how it resumes, its files, and its errors."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dccnet.cli import dcc as command_line
from dccnet.cli import main
from dccnet.evaluation.published import ABLATIONS
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import CheckpointError, DccError, UsageError
from dccnet.runtime.locks import folder_lock
from dccnet.training.ablation import sweep as sweeping
from dccnet.training.ablation.kernels import STAND_FOR
from dccnet.training.ablation.output import RESULTS, RUNS, TABLES
from dccnet.training.ablation.plan import PLAN, Plan, make_plan, read_plan, write_plan
from dccnet.training.ablation.results import Results, RunResult, to_dict
from dccnet.training.ablation.rows import METHODS, Row, check_kernels, default_kernels, in_table, make_rows
from dccnet.training.ablation.sweep import RESULT, run_folder, sweep
from dccnet.training.ablation.tables import columns, lines, markdown
from dccnet.training.recipes import recipe
from dccnet.training.settings import RunFolder
from dccnet.training.starts import start_plain
from dccnet.weights.checkpoint import load_checkpoint
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.commands import Cli

SMALL = PRESETS["tiny"].replace(
    image_size=(48, 48), context_kernel=3, context_channels=4, consensus_channels=(2, 1)
)
CHANGES = ["image_size=[48,48]", "context_kernel=3", "context_channels=4", "consensus_channels=[2,1]"]
POINTS = "5;50;30,4;15;48,6;49;30,5;16;47"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures; ``train.csv`` has all pairs, ``val.csv`` and ``test.csv`` have keypoints."""
    root = tmp_path_factory.mktemp("lists")
    for number in range(4):
        tiny.write(root / f"{number}.png", tiny.picture(number, 64, 64))
    pairs = [f"{a}.png,{b}.png,1,0" for a in range(4) for b in range(4) if a != b]
    (root / "train.csv").write_text("\n".join(["source_image,target_image,class,flip", *pairs]) + "\n")
    for name, step in (("val", 1), ("test", 2)):
        rows = [f"{a}.png,{(a + step) % 4}.png,1,{POINTS}" for a in range(4)]
        (root / f"{name}.csv").write_text("\n".join([tiny.KEYPOINTS, *rows]) + "\n")
    return root


MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(data: Path) -> MakePlan:
    def make(test: str | None = None, model: ModelConfig = SMALL, **changes: Any) -> Plan:
        what = {"tables": (5,), "kernels": (3,), "seeds": (1,)}
        what |= {name: changes.pop(name) for name in list(changes) if name in (*what, "methods")}
        training = {
            "data": str(data / "train.csv"),
            "validate": str(data / "val.csv"),
            "synthetic": None,
            "root": None,
            "one_based": False,
            "protocol": "bbox",
            "alpha": 0.1,
            "weights": "random",
            "epochs": 1,
            "batch_size": 4,
            "patience": None,
            "device": "cpu",
        }
        return make_plan("tiny", model, training | changes, test, **what)

    return make


def arguments(data: Path, folder: Path, *more: str) -> list[str | Path]:
    """Three small networks: NC-Net, Baseline+S and Baseline+SDA."""
    found: list[str | Path] = ["ablate", "--base", "tiny", "--tables", "5", "--kernels", "3"]
    for change in CHANGES:
        found += ["--set", change]
    found += ["--weights", "random", "--epochs", "1", "--batch-size", "4", "--device", "cpu"]
    found += ["--data", data / "train.csv", "--validate", data / "val.csv", "--test", data / "test.csv"]
    return [*found, "-o", folder, *more]


def one_sentence(found: object, stderr: str, code: int, message: str) -> None:
    assert found == code, stderr
    assert "Traceback" not in stderr
    assert message in stderr.strip().splitlines()[-1], stderr


# Rows ------------------------------------------------------------------------------------------


def test_at_the_papers_size_the_rows_are_the_presets() -> None:
    rows = make_rows("dccnet", PRESETS["dccnet"], (4, 5), default_kernels("dccnet", PRESETS["dccnet"]))
    own = {row.method: row for row in in_table(rows, 4)}
    assert list(own) == list(METHODS)
    for method, row in own.items():
        assert row.model == PRESETS[METHODS[method]], method
    by_kernel = [(row.method, row.kernel) for row in in_table(rows, 5)]
    s, sda = ([(name, k) for k in (11, 25, 31)] for name in ("Baseline+S", "Baseline+SDA"))
    assert by_kernel == [("NC-Net", None), *s, *sda]
    for row in rows:
        if row.kernel is not None:
            assert row.model.context_kernel == row.kernel
    assert len({row.key for row in rows}) == len(rows) == 6 + 4  # three are in both tables


def test_published_numbers_stand_in_the_rows_that_the_paper_has() -> None:
    rows = make_rows("dccnet", PRESETS["dccnet"], (4, 5), (11, 25, 31))
    found = {(row.method, row.kernel): row.published for row in rows if row.published is not None}
    assert found == ABLATIONS
    missing = [row.key for row in rows if row.published is None]
    assert missing == ["baseline-sda-k11"]


def test_another_base_keeps_its_sizes_and_replaces_the_papers_kernels() -> None:
    base = PRESETS["tiny"]
    rows = make_rows("tiny", base, (4, 5), default_kernels("tiny", base))
    stand_for = {row.kernel: row.published_kernel for row in rows if row.kernel is not None}
    assert stand_for == {7: 11, 15: 25, 19: 31}
    for row in rows:
        preset = PRESETS[METHODS[row.method]]
        assert row.model.branches == preset.branches and row.model.embedding == preset.embedding
        assert row.model.backbone == base.backbone and row.model.image_size == base.image_size
    own = next(row for row in rows if row.key == "baseline-sda-k15").model
    assert own == base.replace(fusion="dynamic", embedding=True)


@pytest.mark.parametrize("base", [name for name in STAND_FOR if recipe(name).get("start") == "plain"])
def test_networks_with_a_plain_start_have_room_for_its_kernels(base: str) -> None:
    kernels = default_kernels(base, PRESETS[base])
    for row in make_rows(base, PRESETS[base], (4, 5), kernels):
        start_plain(DCCNet(row.model), both_ways=recipe(base)["opposite"] > 0)


def test_other_kernels_replace_no_kernel_of_the_paper() -> None:
    rows = make_rows("tiny", PRESETS["tiny"], (5,), (3, 15))
    published = {row.key: row.published for row in rows}
    assert published["baseline-s-k3"] is None and published["baseline-s-k15"] == 80.9


def test_a_base_with_another_kernel_replaces_the_papers_own_with_it() -> None:
    rows = make_rows("tiny", PRESETS["tiny"].replace(context_kernel=9), (5,), (7, 9, 15, 19))
    found = {row.kernel: row.published_kernel for row in rows if row.kernel is not None}
    assert found == {7: 11, 9: 25, 15: None, 19: 31}


@pytest.mark.parametrize("kernel", [2, 33, 0])
def test_kernels_that_are_even_or_larger_than_any_neighbourhood_are_refused(kernel: int) -> None:
    check_kernels(PRESETS["tiny"], (1, 31))
    with pytest.raises(UsageError, match="odd numbers up to 31"):
        check_kernels(PRESETS["tiny"], (9, kernel))


# Which weights are scored ----------------------------------------------------------------------


def test_the_best_epoch_is_scored_only_where_another_list_chose_it(plan: MakePlan, data: Path) -> None:
    assert plan(str(data / "test.csv")).scored == "best"
    for same in (plan(), plan(str(data / "val.csv"))):
        assert same.scored == "last" and "would be chosen" in same.scored_description
    copied = data / "copy.csv"
    copied.write_bytes((data / "val.csv").read_bytes())
    assert plan(str(copied)).scored == "last"
    assert plan(str(data / "test.csv"), validate=None).scored == "last"
    with pytest.raises(UsageError, match="--patience"):
        plan(patience=1)
    with pytest.raises(UsageError, match="--test"):
        plan(validate=None)
    with pytest.raises(UsageError, match="table 5 has no row of baseline-sca"):
        plan(tables=(5,), methods=("baseline-sca",))


# The sweep -------------------------------------------------------------------------------------


def test_the_score_of_the_last_epoch_equals_its_validation(plan: MakePlan, tmp_path: Path) -> None:
    results = sweep(plan(epochs=2), tmp_path / "out")
    for row in results.plan.rows():
        log = run_folder(tmp_path / "out", row, 1) / "log.jsonl"
        validations = [json.loads(line) for line in log.read_text().splitlines() if '"pck"' in line]
        assert [record["epoch"] for record in validations] == [0, 1, 2]
        (run,) = results.of(row)
        assert run.pck == pytest.approx(validations[-1]["pck"]) and run.scored_epoch == 2


def test_a_failing_row_loses_no_other_and_is_tried_again(
    plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = sweeping.start_run

    def start_unless(message: str | None) -> Callable[..., Any]:
        def run(path: str, config: ModelConfig, options: dict[str, Any]) -> Any:
            started.append(Path(path).parent.name)
            if message and config.branches == ("context",):
                raise RuntimeError(message)
            return start(path, config, options)

        return run

    monkeypatch.setattr(sweeping, "start_run", start_unless("CUDA out of memory.\nTried to allocate"))
    results = sweep(plan(), tmp_path / "out")
    assert started == ["nc-net", "baseline-s-k3", "baseline-sda-k3"]
    ((row, run),) = results.failures()
    assert row.key == "baseline-s-k3" and run.error == "CUDA out of memory."
    assert results.mean(row) is None
    table = (tmp_path / "out" / TABLES).read_text()
    assert "| Baseline+S | 3 | failed | 0 of 1 |" in table
    assert "Failed: Baseline+S, kernel 3, seed 1: CUDA out of memory." in table

    started.clear()
    monkeypatch.setattr(sweeping, "start_run", start_unless(None))
    assert not sweep(plan(), tmp_path / "out").failures()
    assert started == ["baseline-s-k3"]


def test_a_run_stopped_while_it_was_scored_is_only_scored(
    plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sweeping, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sweep(plan(), tmp_path / "out")
    weights = tmp_path / "out" / "nc-net" / "seed1" / "last.safetensors"
    before = weights.stat().st_mtime_ns
    monkeypatch.setattr(sweeping, "resume_run", interrupt)
    results = sweep(plan(), tmp_path / "out")
    assert weights.stat().st_mtime_ns == before
    assert all(len(results.scores(row)) == 1 for row in results.plan.rows())


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_seeds_and_kernels_can_be_added_and_nothing_else_changed(
    plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def pretend(plan: Plan, row: Row, seed: int, path: Path, benchmark: Any) -> RunResult:
        trained.append(f"{row.key}/{seed}")
        path.mkdir(parents=True)
        result = RunResult(seed, 50.0 + seed, 1, 1, "0")
        (path / RESULT).write_text(json.dumps(dataclasses.asdict(result)))
        return result

    monkeypatch.setattr(sweeping, "_attempt", pretend)
    folder = tmp_path / "out"
    sweep(plan(), folder)
    assert trained == ["nc-net/1", "baseline-s-k3/1", "baseline-sda-k3/1"]
    trained.clear()
    results = sweep(plan(seeds=(1, 2), kernels=(3, 5)), folder)
    one, two = (
        [f"baseline-{m}-k{k}/{s}" for m in ("s", "sda") for k in ks] for s, ks in ((1, (5,)), (2, (3, 5)))
    )
    assert trained == [*one, "nc-net/2", *two]
    row = results.plan.rows()[0]
    assert results.scores(row) == [51.0, 52.0] and results.mean(row) == 51.5
    assert results.spread(row) == pytest.approx(0.5**0.5)
    (folder / "nc-net" / "seed1" / RESULT).write_text("{")  # damaged, so it is trained again
    trained.clear()
    for changed, message in (
        ({"epochs": 2}, "its epochs is 1, not 2"),
        ({"alpha": 0.2}, "its alpha is 0.1, not 0.2"),
        ({"seeds": (2,)}, "its seeds 1,2 are not all among 2"),
        ({"model": SMALL.replace(context_channels=8)}, "its context_channels is 4, not 8"),
    ):
        with pytest.raises(UsageError, match=message):
            sweep(plan(**{"seeds": (1, 2), "kernels": (3, 5)} | changed), folder)
    assert not trained and read_plan(folder) == results.plan


def test_rows_can_be_chosen_and_added_and_are_compared_seed_by_seed(plan: MakePlan, tmp_path: Path) -> None:
    wanted = {"tables": (4,), "seeds": (1, 2), "methods": ("ncnet", "dccnet")}
    results = sweep(plan(**wanted), tmp_path / "out")
    first, other = results.plan.rows()
    assert (first.method, other.method) == ("NC-Net", "Baseline+SDA")
    gap = results.gaps[other.key]
    assert list(results.gaps) == [other.key] and gap.seeds == (1, 2)
    differences = np.subtract(results.scores(other), results.scores(first))
    assert gap.mean == pytest.approx(differences.mean())
    assert gap.spread == pytest.approx(differences.std(ddof=1))
    assert gap.interval is None  # four photographs
    written = json.loads((tmp_path / "out" / RESULTS).read_text())["rows"]
    assert written[0]["difference"] is None and written[1]["difference"]["mean"] == gap.mean
    assert f"| Baseline+SDA, kernel 3 | {gap.mean:+.1f} ± {gap.spread:.1f} |" in markdown(results)
    more = plan(**wanted | {"methods": ("ncnet", "baseline-s", "dccnet")})
    write_plan(tmp_path / "out", more)
    with pytest.raises(UsageError, match="its rows are ncnet,baseline-s,dccnet, not ncnet,dccnet"):
        write_plan(tmp_path / "out", plan(**wanted))
    write_plan(tmp_path / "out", plan(**wanted | {"methods": ()}))  # all
    with pytest.raises(UsageError, match="its rows are all, not ncnet"):
        write_plan(tmp_path / "out", more)


def test_a_list_that_changed_is_another_sweep(plan: MakePlan, data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_bytes((data / "test.csv").read_bytes())
    write_plan(tmp_path / "out", plan(str(copy)))
    copy.write_text(copy.read_text().rpartition("3.png")[0])
    with pytest.raises(UsageError, match="another test list"):
        write_plan(tmp_path / "out", read_plan(tmp_path / "out"))


def test_a_list_that_is_a_link_has_its_pictures_beside_the_link(
    plan: MakePlan, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link.csv").symlink_to(data / "test.csv")
    monkeypatch.chdir(tmp_path)
    assert plan("link.csv").test == str(tmp_path / "link.csv")


def test_two_sweeps_do_not_share_a_folder(plan: MakePlan, tmp_path: Path) -> None:
    refused = pytest.raises(DccError, match=r"another sweep is running in .* \(process \d+ on ")
    with folder_lock(tmp_path, "first", "wait", print), refused:
        sweep(plan(), tmp_path)
    assert not (tmp_path / PLAN).exists()


def test_a_plan_of_an_earlier_version_is_the_same_sweep(plan: MakePlan, tmp_path: Path) -> None:
    write_plan(tmp_path, plan())
    content = json.loads((tmp_path / PLAN).read_text())
    for later in ("tf32", "skip_unreadable"):
        content["training"].pop(later, None)
    (tmp_path / PLAN).write_text(json.dumps(content))
    write_plan(tmp_path, plan())


def test_a_damaged_plan_is_one_sentence(plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        read_plan(tmp_path)
    write_plan(tmp_path / "out", plan())
    path = tmp_path / "out" / PLAN
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"seeds": ["1"]}))
    with pytest.raises(CheckpointError, match=r"seeds\[0\] must be int, got str"):
        read_plan(tmp_path / "out")


# Tables ----------------------------------------------------------------------------------------


def test_tables_in_the_papers_form(plan: MakePlan) -> None:
    results = Results(plan(tables=(4, 5), seeds=(1, 2)), "bbox: what it is", 4)
    for row in results.plan.rows():
        if row.method != "Baseline+SD":
            results.runs[row.key, 1] = RunResult(1, 70.0, 4, 0 if row.method == "NC-Net" else 3, "0")
    results.runs["baseline-sda-k3", 2] = RunResult(2, 72.0, 4, 4, "0")
    assert lines(results, 4) == [
        ["NC-Net", "-", "-", "-", "70.0", "1 of 2", "78.9"],
        ["Baseline+S", "✓", "-", "-", "70.0", "1 of 2", "80.9"],
        ["Baseline+SCA", "✓", "Dynamic w/o Corr Embedding", "✓", "70.0", "1 of 2", "79.9"],
        ["Baseline+SAA", "✓", "Average w/ Corr Embedding", "✓", "70.0", "1 of 2", "80.2"],
        ["Baseline+SD", "✓", "Dynamic w/ Corr Embedding", "✗", "to come", "0 of 2", "81.0"],
        ["Baseline+SDA", "✓", "Dynamic w/ Corr Embedding", "✓", "71.0 ± 1.4", "2", "82.3"],
    ]
    assert [line[:2] + line[-1:] for line in lines(results, 5)] == [
        ["NC-Net", "-", "78.9"],
        ["Baseline+S", "3", "80.9 (k = 25)"],
        ["Baseline+SDA", "3", "82.3 (k = 25)"],
    ]
    text = markdown(results)
    for part in (
        "PCK@0.1 in % on val.csv, 4 pairs. Protocol: bbox: what it is.",
        "Scored: the last epoch, because the best would be chosen by this list, which also validates",
        "standard deviation over seeds 1, 2.",
        "on PF-PASCAL",
        "3 for 25",
        "Untrained: NC-Net, seed 1",
    ):
        assert part in text, part
    for number in (4, 5):
        assert all(len(line) == len(columns(number)) for line in lines(results, number))
    json.dumps(to_dict(results), allow_nan=False)


# The command -----------------------------------------------------------------------------------


def test_a_killed_sweep_ends_with_the_same_numbers(dcc_here: Cli, data: Path, tmp_path: Path) -> None:
    whole = dcc_here(*arguments(data, tmp_path / "whole", "--seeds", "1", "--json"))
    assert whole.returncode == 0, whole.stderr
    expected = json.loads(whole.stdout)
    assert expected == json.loads((tmp_path / "whole" / RESULTS).read_text())
    assert expected["checkpoint"] == "best" and expected["protocol"].startswith("bbox")

    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "dccnet", *map(str, arguments(data, folder, "--seeds", "1"))]
    second = RunFolder(folder / "baseline-s-k3" / "seed1")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    give_up = time.monotonic() + 120
    while not second.config.exists():
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = folder / "nc-net" / "seed1"
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert (first / RESULT) in before and not (second.path / RESULT).exists()

    resumed = dcc_here("ablate", "--resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "1 of them are done" in resumed.stderr and "[1/3]" not in resumed.stderr
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
    for row, again in zip(
        expected["rows"], json.loads((folder / RESULTS).read_text())["rows"], strict=True
    ):
        for run in (*row["runs"], *again["runs"]):
            del run["model_sha256"]  # the order of a file's metadata differs from process to process
        assert row == again
        best = f"{row['folder']}/seed1/best.safetensors"
        weights, same = (load_checkpoint(path / best).state_dict() for path in (tmp_path / "whole", folder))
        assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert resumed.stdout.splitlines()[0].startswith("Table 5: kernel size")
    assert f"next: dcc compare {folder} -o comparison" in resumed.stderr
    with (folder / RUNS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["NC-Net", "Baseline+S", "Baseline+SDA"]
    means = [row["mean"] for row in expected["rows"]]
    assert [float(row["pck"]) for row in rows] == pytest.approx(means, abs=1e-4)

    compared = CliRunner().invoke(command_line, ["compare", str(folder), "--json"])
    assert compared.exit_code == 0, compared.output
    models = json.loads(compared.stdout)["models"]
    assert [model["name"] for model in models] == ["NC-Net", "Baseline+S", "Baseline+SDA"]
    assert [model["headline"][0] for model in models] == pytest.approx(means)
    assert [model["difference"]["overall"]["mean"][0] for model in models[1:]] == pytest.approx(
        [row["difference"]["mean"] for row in expected["rows"][1:]]
    )


def test_a_diverging_run_is_exit_code_1_after_the_table(dcc: Cli, data: Path, tmp_path: Path) -> None:
    failed = dcc(*arguments(data, tmp_path / "out", "--seeds", "1", "--learning-rate", "1e9"))
    one_sentence(failed.returncode, failed.stderr, 1, "of 3 runs failed")
    assert "[3/3] Baseline+SDA, kernel 3, seed 1" in failed.stderr
    assert "Failed: Baseline+SDA, kernel 3, seed 1: the loss is not finite" in failed.stdout
    assert re.search(r"\| Baseline\+SDA \|.* failed \| 0 of 1 \|", (tmp_path / "out" / TABLES).read_text())


def test_bad_input(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the tests must keep their own handler
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").touch()
    for given, code, message in (
        (arguments(data, out, "--kernels", "3,7"), 2, "kernels 7 do not fit a grid of 3x3"),
        (arguments(data, out, "--seeds", "1,x"), 2, "whole numbers"),
        (arguments(data, out, "--tables", "6"), 2, "from 4 to 5"),
        (arguments(data, out, "--rows", "ncnet,x"), 2, "there is no row 'x': choose from ncnet, "),
        (arguments(data, out, "--test", str(data / "absent.csv")), 1, "does not exist"),
        (arguments(data, out, "--test", str(data / "train.csv")), 1, "no keypoints"),
        (arguments(data, out, "--resume", str(out)), 2, "-o"),
        (["ablate"], 2, "-o"),
        (["ablate", "-o", out, "--data", data / "train.csv"], 2, "--test"),
        (["ablate", "-o", out, "--validate", data / "val.csv"], 2, "--data"),
        (["ablate", "--resume", out], 1, "holds no sweep"),
        (["ablate", "--resume", out, "--seeds", "1"], 2, "nothing else"),
        (arguments(data, other), 2, "holds other files"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, given)))
        one_sentence(ended.value.code, capsys.readouterr().err, code, message)
    assert not out.exists() and len(list(other.iterdir())) == 1
