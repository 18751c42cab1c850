"""``dcc eval``: resuming, features computed once, its files, and equal tables from all backends."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.benchmarks.tss import read_flo
from dccnet.evaluation.feature_store import FeatureStore
from dccnet.evaluation.journal import JOURNAL, Journal
from dccnet.evaluation.models import Model, open_model
from dccnet.evaluation.options import output_folders, parse_alphas
from dccnet.evaluation.pairs import Picture
from dccnet.evaluation.runner import EvaluationOptions, evaluate
from dccnet.evaluation.scoring import Outcome
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.selection import BackendChoice
from dccnet.runtime.views.ways import Ways
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.commands import Cli
from tests.helpers.results import identity

SIZE = (tiny.HEIGHT, tiny.WIDTH)


class Fake:
    """A network that counts its calls and may raise ``KeyboardInterrupt``."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.encoded = self.matched = 0
        self.stop_after = stop_after

    def encode(self, image: Image) -> int:
        self.encoded += 1
        return int(image.sum())

    def match(self, a: int, b: int) -> Correspondences:
        if self.stop_after is not None and self.matched >= self.stop_after:
            raise KeyboardInterrupt
        self.matched += 1
        index = (np.arange(20) * (a + 2 * b) % 20).reshape(4, 5)  # depends on both pictures
        score = np.ones((4, 5), np.float32)
        return Correspondences(SIZE, SIZE, index, score, index, score)

    def model(self, digest: str = "d") -> Model:
        return Model(Path("model"), digest, "fake", self.encode, self.match, lambda features: 1)


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return load_benchmark("pf-pascal", tiny.pf_pascal(tmp_path / "data", pairs=5))


def test_every_picture_is_encoded_once(benchmark: Benchmark) -> None:
    fake = Fake()
    run = evaluate(fake.model(), benchmark, (0.1,))
    assert (run.pictures, run.encoded, fake.encoded) == (6, 6, 6)
    assert len(run.outcomes) == fake.matched == 5


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30),
    st.integers(0, 8),
)
@settings(max_examples=80, deadline=None)
def test_features_within_the_budget_whatever_the_order(turns: list[tuple[int, int]], budget: int) -> None:
    calls: list[int] = []

    def picture(number: int) -> Picture:
        return Picture(str(number), lambda: np.full((1, 1, 3), number, np.uint8))

    def encode(image: Image) -> int:
        calls.append(int(image[0, 0, 0]))
        return calls[-1]

    pictures = [(picture(a), picture(b)) for a, b in turns]
    store = FeatureStore(encode, lambda features: 1, pictures, budget)
    for turn, pair in enumerate(pictures):
        assert store.take(turn, pair) == turns[turn]
    different = {number for turn in turns for number in turn}
    assert store.pictures == len(different)
    assert store.largest <= max(budget, 2) + 1  # a new one is added before another is dropped
    if budget >= len(different):
        assert sorted(calls) == sorted(different)
    if turns == turns[:1] * len(turns):
        assert len(calls) == len(different)  # features in use are kept, whatever the budget


def test_pictures_that_are_targets_alone_are_encoded_as_such() -> None:
    a, b, c = (Picture(name, lambda: np.zeros((1, 1, 3), np.uint8)) for name in "abc")
    turns = [(a, b), (a, c), (c, a)]
    store = FeatureStore(lambda image: "both", lambda features: 1, turns, 9, lambda image: "target")
    assert [store.take(turn, pair) for turn, pair in enumerate(turns)] == [
        ("both", "target"), ("both", "both"), ("both", "both")
    ]  # fmt: skip


def test_a_stopped_run_continues_with_the_same_result(benchmark: Benchmark, tmp_path: Path) -> None:
    whole = evaluate(Fake().model(), benchmark, (0.1,), EvaluationOptions(tmp_path / "whole"))
    stopped = Fake(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        evaluate(stopped.model(), benchmark, (0.1,), EvaluationOptions(tmp_path / "run"))
    again = Fake()
    run = evaluate(again.model(), benchmark, (0.1,), EvaluationOptions(tmp_path / "run"))
    assert (run.resumed, again.matched) == (2, 3)
    assert run.outcomes == whole.outcomes
    same = evaluate(Fake(stop_after=0).model(), benchmark, (0.1,), EvaluationOptions(tmp_path / "run"))
    assert same.outcomes == whole.outcomes  # nothing was left to do


def test_the_next_pair_is_matched_while_one_is_scored(benchmark: Benchmark) -> None:
    fake, second = Fake(), threading.Event()

    def match(a: int, b: int) -> Correspondences:
        result = fake.match(a, b)
        if fake.matched == 2:
            second.set()
        return result

    def score(*arguments: Any) -> Outcome:
        assert second.wait(60), "the second pair waits for the score of the first"
        return benchmark.score(*arguments)

    model = dataclasses.replace(fake.model(), match=match)
    run = evaluate(model, dataclasses.replace(benchmark, score=score), (0.1,))
    assert run == evaluate(Fake().model(), benchmark, (0.1,))


def test_an_error_comes_after_the_scores_of_all_pairs_before_it(
    benchmark: Benchmark, tmp_path: Path
) -> None:
    fake = Fake()

    def match(a: int, b: int) -> Correspondences:
        if fake.matched == 3:
            raise DccError("the engine failed")
        return fake.match(a, b)

    model = dataclasses.replace(fake.model(), match=match)
    with pytest.raises(DccError, match=r"^the engine failed$"):
        evaluate(model, benchmark, (0.1,), EvaluationOptions(tmp_path))
    assert (tmp_path / JOURNAL).read_text().count("\n") == 1 + 3
    assert not [thread for thread in threading.enumerate() if thread.name == "dcc-stage"]


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_journal_cut_anywhere_continues(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder, {"a": 1}) as journal:
        for number in range(4):
            journal.add_outcome(number, Outcome(f"ü{number}", "c", 2, (1,), 3.5, (0.1, 7.0), ((1.0, 2.0),)))
        outcomes = dict(journal.outcomes)
    content = (folder / JOURNAL).read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    (folder / JOURNAL).write_bytes(content[:cut])
    with Journal(folder, {"a": 1}) as journal:
        kept = dict(journal.outcomes)
        for number in range(4):
            if number not in kept:
                journal.add_outcome(number, outcomes[number])
    assert all(kept[number] == outcomes[number] for number in kept)
    assert (folder / JOURNAL).read_bytes() == content


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"digest": "other"}, "another model"),
        ({"list": "other"}, "another list"),
        ({"alphas": (0.2,)}, r"its alphas is \[0.1\], not \[0.2\]"),
        ({"name": "pairs"}, "its protocol is"),
    ],
)
def test_another_model_list_or_protocol_is_noticed(
    benchmark: Benchmark, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    evaluate(Fake().model(), benchmark, (0.1,), EvaluationOptions(tmp_path / "run"))
    if "list" in changed:
        path = tmp_path / "data" / "image_pairs" / "test_pairs.csv"
        path.write_text(path.read_text().replace(",5;20;", ",6;20;"))
        benchmark = load_benchmark("pf-pascal", path)
    if "name" in changed:
        benchmark = load_benchmark("pairs", tmp_path / "data")
    model, alphas = Fake().model(changed.get("digest", "d")), changed.get("alphas", (0.1,))
    with pytest.raises(UsageError, match=message):
        evaluate(model, benchmark, alphas, EvaluationOptions(tmp_path / "run"))
    run = evaluate(model, benchmark, alphas, EvaluationOptions(tmp_path / "run", restart=True))
    assert run.resumed == 0


def test_two_evaluations_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with (
        Journal(tmp_path, {}),
        pytest.raises(DccError, match=r"another process is writing to .* \(process \d+ on .*\): wait"),
        Journal(tmp_path, {}),
    ):
        pass


def test_a_journal_without_entries_becomes_that_of_another_run(tmp_path: Path) -> None:
    """Such as of a command that was refused, and is called again with other arguments."""
    with Journal(tmp_path, {"a": 1}):
        pass
    with Journal(tmp_path, {"a": 2}) as journal:
        journal.add_outcome(0, Outcome("ü", "c", 2, (1,), 3.5, (0.1, 7.0), ((1.0, 2.0),)))
    with pytest.raises(UsageError, match="its a is 2, not 1"), Journal(tmp_path, {"a": 1}):
        pass
    with Journal(tmp_path, {"a": 2}) as journal:
        assert len(journal.outcomes) == 1


def test_a_damaged_journal_says_how_to_begin_again(tmp_path: Path) -> None:
    with Journal(tmp_path, {"a": 1}):
        pass
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"case": 0, "nonsense": 1}\n')
    expected = r"line 2\.nonsense is unknown\): start again with --restart"
    with pytest.raises(DccError, match=expected), Journal(tmp_path, {"a": 1}):
        pass


def test_flows_in_the_layout_of_the_kit(tmp_path: Path) -> None:
    groups = ("FG3DCar/a", "FG3DCar/b")
    benchmark = load_benchmark("tss", tiny.tss(tmp_path / "data", groups=groups))
    model = Model(Path("m"), "d", "b", lambda image: 0, lambda a, b: identity(SIZE), lambda f: 1)
    flows = tmp_path / "flows"
    options = EvaluationOptions(tmp_path / "run", flow_folder=flows)
    run = evaluate(model, benchmark, (0.05,), options)
    written = sorted(p.relative_to(flows).as_posix() for p in flows.rglob("*.flo"))
    assert written == [f"TSS_CVPR2016/{group}/flow1.flo" for group in groups]
    flow = read_flo(flows / written[0])
    np.testing.assert_allclose(flow[1:-1, 1:-1], np.zeros((28, 38, 2)), atol=1e-4)
    assert np.isnan(flow).all(axis=2).sum() == 2 * 40 + 2 * 28  # on the border: 1e10
    (flows / written[1]).unlink()  # a scored pair whose flow is missing
    again = evaluate(model, benchmark, (0.05,), options)
    assert (flows / written[1]).exists()
    assert again.outcomes == run.outcomes


def test_true_flows_are_not_overwritten(tmp_path: Path) -> None:
    path = tiny.tss(tmp_path)
    absolute = (
        path.read_text().replace("TSS_CVPR2016", f"{tmp_path}/TSS_CVPR2016").replace("/a/", "/a/../a/")
    )
    model = Model(Path("m"), "d", "b", lambda image: 0, lambda a, b: identity(SIZE), lambda f: 1)
    truth = next(tmp_path.rglob("flow1.flo")).read_bytes()
    with pytest.raises(UsageError, match="overwrite the true flows"):
        evaluate(model, load_benchmark("tss", path), (0.05,), EvaluationOptions(flow_folder=tmp_path))
    path.write_text(absolute)
    evaluate(model, load_benchmark("tss", path), (0.05,), EvaluationOptions(flow_folder=tmp_path / "flows"))
    assert len(list((tmp_path / "flows").rglob("flow1.flo"))) == 1
    assert (tmp_path / "TSS_CVPR2016/FG3DCar/a/flow1.flo").read_bytes() == truth


@pytest.mark.parametrize("text", ["", "x", "0", "-0.1", "0.1,,0.2", "nan", "inf"])
def test_invalid_thresholds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--alpha takes positive numbers"):
        parse_alphas(text)
    assert parse_alphas("0.1,0.05,0.10") == (0.05, 0.1)


def test_a_folder_for_each_of_several_models(tmp_path: Path) -> None:
    a, b = tmp_path / "a" / "best.safetensors", tmp_path / "b" / "best.safetensors"
    assert output_folders((a,), tmp_path) == [tmp_path]
    assert output_folders((a, b), tmp_path) == [tmp_path / "a-best", tmp_path / "b-best"]
    sweep = [tmp_path / row / "seed1" / "last.safetensors" for row in ("nc-net", "dccnet")]
    assert output_folders((sweep[0], sweep[1]), tmp_path) == [tmp_path / "nc-net", tmp_path / "dccnet"]
    with pytest.raises(UsageError, match="named twice"):
        output_folders((a, a), tmp_path)
    same = tuple(Path(folder) / "d" / "best" for folder in ("a/b-c", "a-b/c", "z/c"))
    with pytest.raises(UsageError, match="one folder"):
        output_folders(same, tmp_path)


@pytest.mark.parametrize(
    ("name", "how", "error", "message"),
    [
        ("absent", BackendChoice(), DccError, "does not exist"),
        ("model.pth.tar", BackendChoice(), UsageError, "dcc import"),
        ("lonely.engine", BackendChoice(), UsageError, "lies in no bundle"),
        ("checkpoint", BackendChoice(backend="onnxruntime"), UsageError, "export it for onnxruntime"),
        ("bundle", BackendChoice(backend="pytorch"), UsageError, "holds no PyTorch weights"),
    ],
)
def test_models_that_cannot_be_opened(
    checkpoint: Path,
    bundle: Bundle,
    tmp_path: Path,
    name: str,
    how: BackendChoice,
    error: type[DccError],
    message: str,
) -> None:
    path = {"checkpoint": checkpoint, "bundle": bundle.path}.get(name, tmp_path / name)
    with pytest.raises(error, match=message):
        open_model(path, how)


def test_pytorch_and_onnx_runtime_agree_pair_by_pair(
    checkpoint: Path, bundle: Bundle, dcc_here: Cli, tmp_path: Path
) -> None:
    tiny.pf_pascal(tmp_path / "data", pairs=6)
    arguments = ["--benchmark", "pf-pascal", "--data", tmp_path / "data", "--alpha", "0.1,0.3"]
    done = dcc_here("eval", checkpoint, bundle.path, *arguments, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for text in (
        "DCCNet",
        "82.3",
        "scnet",
        "sub-cell transfer",
        "transfer: cells",
        "PyTorch",
        "ONNX Runtime",
        "aeroplane",
    ):
        assert text in done.stdout
    assert "7 pictures encoded 7 times" in done.stderr
    tables = [
        list(csv.reader((folder / "pairs.csv").open()))
        for folder in output_folders((checkpoint, bundle.path), tmp_path / "out")
        if folder is not None
    ]
    assert len(tables[0]) == 7
    for one, other in zip(*tables, strict=True):
        assert one[1:] == other[1:]
    assert tables[0][1][0] != tables[1][1][0]


def test_json_is_the_same_every_time_and_says_its_protocol(
    bundle: Bundle, dcc_here: Cli, tmp_path: Path
) -> None:
    tiny.pf_pascal(tmp_path / "data")
    command = ["eval", bundle.path, "--benchmark", "pairs", "--protocol", "img", "--one-based"]
    command += ["--data", tmp_path / "data", "--json"]
    first, second = dcc_here(*command), dcc_here(*command, "-o", tmp_path / "out")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout == second.stdout
    result = json.loads(first.stdout)
    assert result["protocol"].startswith("img: ")
    assert "1-based" in result["protocol"]
    assert result["overall"]["pairs"] == result["subcell"]["overall"]["pairs"] == 3
    assert result["transfer"] == "cells"
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == result
    contents = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    third = dcc_here(*command, "-o", tmp_path / "out")
    assert "3 pairs had been scored before" in third.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents


@pytest.mark.parametrize(
    ("name", "make"), [("pf-willow", tiny.pf_willow), ("tss", tiny.tss), ("spair", tiny.spair)]
)
def test_the_report_is_one_whole_page(
    bundle: Bundle, dcc_here: Cli, tmp_path: Path, name: str, make: Callable[[Path], Path]
) -> None:
    make(tmp_path / "data")
    out = tmp_path / "out"
    done = dcc_here("eval", bundle.path, "--benchmark", name, "--data", tmp_path / "data", "-o", out)
    assert done.returncode == 0, done.stderr
    page = (out / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|<script""", page)
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(drawing)
    assert page.count("<figure>") >= 1
    assert "the same, sub-cell transfer" in page
    with (out / "pairs.csv").open() as file:
        for row in csv.DictReader(file):
            shares = [name for name in row if name.startswith("subcell_pck@")]
            assert shares and all(0 <= float(row[name]) <= 100 for name in shares)
    assert json.loads((out / "results.json").read_text())["protocol"][:30] in page


def test_several_models_are_side_by_side_in_one_report(
    bundle: Bundle, dcc_here: Cli, tmp_path: Path
) -> None:
    tiny.pf_pascal(tmp_path / "data", pairs=3)
    listed = tmp_path / "data" / "image_pairs" / "test_pairs.csv"
    (listed.parent / "classes.txt").write_text("1 bird\n2 tabby cat\n\nnonsense\n")
    other = tmp_path / "other"
    shutil.copytree(bundle.path, other)
    out = tmp_path / "out"
    command = ["--benchmark", "pairs", "--data", listed, "--root", tmp_path / "data", "-o", out]
    done = dcc_here("eval", bundle.path, other, *command)
    assert done.returncode == 0, done.stderr
    page = (out / "report.html").read_text()
    assert page.count("<figure>") == 2 * 3
    assert "<td>bird</td>" in page and "<td>tabby cat</td>" in page and "<td>3</td>" in page
    for model in (bundle.path, other):
        assert f"<strong>{'/'.join(model.parts[-2:])}</strong>" in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(drawing)
    assert len([path for path in out.iterdir() if path.is_dir()]) == 2


def test_killed_at_any_moment_and_continued(bundle: Bundle, dcc: Cli, tmp_path: Path) -> None:
    rows = [tiny.pascal_row(i % 5, (i + 1 + i // 5) % 5, i % 20 + 1) for i in range(60)]
    tiny.pf_pascal(tmp_path / "data", rows, pairs=4)
    command = ["eval", bundle.path, "--benchmark", "pf-pascal", "--data", tmp_path / "data"]
    whole = dcc(*command, "-o", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    journal = tmp_path / "run" / JOURNAL
    for lines in (2, 15, 40):  # kill the process after this number of lines
        process = subprocess.Popen(
            [sys.executable, "-m", "dccnet", *map(str, command), "-o", str(tmp_path / "run")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= lines:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait()
    done = dcc(*command, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "pairs had been scored before" in done.stderr
    for path in (tmp_path / "whole").iterdir():
        if path.name != JOURNAL:
            assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--benchmark", "tss"], 2, "--data"),
        (["--benchmark", "pf-pascal", "--data", "absent"], 1, "absent does not exist"),
        (["--benchmark", "pf-pascal", "--data", "x", "--flow", "f"], 2, "--flow applies to"),
        (["--benchmark", "pf-pascal", "--data", "x", "--alpha", "a"], 2, "--alpha takes"),
        (["--benchmark", "tss", "--data", "x", "--protocol", "img"], 2, "has its own protocol"),
    ],
)
def test_impossible_requests_are_one_sentence(
    bundle: Bundle, dcc_here: Cli, arguments: list[str], code: int, message: str
) -> None:
    done = dcc_here("eval", bundle.path, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_sources_are_matched_mirrored_only_by_bundles_and_the_results_say_so(
    checkpoint: Path, bundle: Bundle
) -> None:
    choice = BackendChoice()
    with pytest.raises(UsageError, match="--mirror and --views take bundles"):
        open_model(checkpoint, choice, ways=Ways("auto"))
    plain, mirrored, several = (
        open_model(bundle.path, choice, ways=ways) for ways in (Ways(), Ways(True), Ways("auto", 3))
    )
    assert several.backend == f"{plain.backend}, source mirrored where more confident, 3 views"
    assert mirrored.backend == f"{plain.backend}, source mirrored"
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    features = mirrored.encode(image)
    assert mirrored.match(features, features).mirrored
    assert mirrored.encode_target is not None
    target = mirrored.encode_target(image)
    assert not target.others
    assert mirrored.nbytes(features) == 2 * mirrored.nbytes(target) == 2 * plain.nbytes(plain.encode(image))
