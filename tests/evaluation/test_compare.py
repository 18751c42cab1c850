"""``dcc compare``: the same pairs, differences with intervals, tables, and what cannot be compared."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dccnet.cli import dcc as command
from dccnet.evaluation.compare.differences import compare, difference
from dccnet.evaluation.compare.reading import read_results
from dccnet.evaluation.compare.suggestion import figure_of
from dccnet.evaluation.intervals import Bootstrap
from dccnet.evaluation.journal import JOURNAL
from dccnet.evaluation.models import Model
from dccnet.evaluation.options import distinct_names
from dccnet.evaluation.pairs import Pair, Picture
from dccnet.evaluation.results import write_results
from dccnet.evaluation.runner import EvaluationOptions, evaluate
from dccnet.evaluation.scored_list import FILE, ScoredList
from dccnet.evaluation.summary import summarise
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.results import identity

SIZE = (tiny.HEIGHT, tiny.WIDTH)


def same_place(a: int, b: int) -> Correspondences:
    return identity(SIZE)


def one_place(a: int, b: int) -> Correspondences:
    """Every cell matches the first: wrong but for what lies there."""
    index, score = np.zeros((4, 5), np.int64), np.ones((4, 5), np.float32)
    return Correspondences(SIZE, SIZE, index, score, index, score)


def evaluated(
    folder: Path,
    match: Callable[[int, int], Correspondences],
    listed: ScoredList,
    alphas: tuple[float, ...] = (0.1, 0.2),
) -> Path:
    """What ``dcc eval -o folder`` writes for a network that needs no pictures."""
    benchmark = listed.load()
    model = Model(
        Path("runs") / folder.name, folder.name, "fake", lambda image: 1, match, lambda features: 1
    )
    outcomes = evaluate(model, benchmark, alphas, EvaluationOptions(folder)).outcomes
    summary = summarise(
        benchmark, outcomes, alphas, model=str(model.path), model_sha256=model.digest, backend="fake"
    )
    write_results(folder, benchmark, outcomes, summary)
    listed.write(folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def listed(root: Path) -> ScoredList:
    rows = [tiny.pascal_row(i, i + 1, "cat" if i < 4 else "a_dog") for i in range(8)]
    return ScoredList("pairs", str(tiny.pf_pascal(root / "data", rows, pairs=8)))


@pytest.fixture(scope="module")
def two(root: Path, listed: ScoredList) -> list[Path]:
    return [
        evaluated(root / name, match, listed)
        for name, match in (("worse", one_place), ("better", same_place))
    ]


def said(*arguments: str | Path) -> str:
    error = CliRunner().invoke(command, ["compare", *map(str, arguments)]).exception
    assert isinstance(error, DccError), error
    return str(error)


def test_tables_differences_and_pages(two: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "comparison"
    done = CliRunner().invoke(command, ["compare", *map(str, two), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert json.loads((out / "comparison.json").read_text()) == found
    worse, better = found["models"]
    assert (worse["name"], better["name"]) == ("worse", "better")
    for folder, model in zip(two, found["models"], strict=True):
        assert model["headline"] == json.loads((folder / "results.json").read_text())["headline"]
    gap = better["difference"]["overall"]
    assert worse["difference"] is None
    np.testing.assert_allclose(gap["mean"], np.subtract(better["headline"], worse["headline"]))
    assert gap["mean"][0] > 0 and gap["interval"][0][0] > 0  # all pairs are alike
    assert [better["difference"][kind][0] for kind in ("better", "equal", "worse")] == [8, 0, 0]

    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(r["name"], r["class"], r["alpha"]) for r in rows} >= {("better", "a_dog", "0.2")}
    overall = next(r for r in rows if (r["name"], r["class"], r["alpha"]) == ("better", "all", "0.1"))
    assert float(overall["difference"]) == pytest.approx(gap["mean"][0], abs=1e-4)
    with (out / "pairs.csv").open() as file:
        pairs = list(csv.DictReader(file))
    mean = np.mean([float(row["better@0.1"]) for row in pairs])
    assert len(pairs) == 8 and mean == pytest.approx(better["headline"][0], abs=1e-4)
    assert "| better |" in (out / "table.md").read_text()
    latex = (out / "table.tex").read_text()
    assert "\\toprule" in latex and "a\\_dog" in latex and not re.search(r"^[^%]*[^\\]_", latex, re.M)
    page = (out / "comparison.html").read_text()
    assert "Where better wins" in page and "On no pair." in page and page.count("<figure>") == 1 + 2 * 6
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)


def test_a_folder_of_several_results_and_names(two: list[Path], root: Path) -> None:
    done = CliRunner().invoke(command, ["compare", str(root), "--names", "NC-Net, DCCNet", "--json"])
    assert [model["name"] for model in json.loads(done.stdout)["models"]] == ["NC-Net", "DCCNet"]
    assert f"NC-Net: {root / 'better'}\nDCCNet: {root / 'worse'}\n" in done.stderr
    assert "must be 2 different names" in said(root, "--names", "one")
    assert "--names takes names between commas" in said(root, "--names", "one,")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/nc", "b/dcc"], ["nc", "dcc"]),
        (["nc/seed1", "dcc/seed1"], ["nc", "dcc"]),
        (["a/nc", "b/nc", "a/dcc"], ["a/nc", "b/nc", "a/dcc"]),
        (["a/nc/best", "b/nc/best"], ["a", "b"]),
        (["one"], ["one"]),
        (["a", "a/b"], ["a", "b"]),
    ],
)
def test_names_tell_folders_apart(paths: list[str], names: list[str]) -> None:
    assert distinct_names([Path(path) for path in paths]) == names


def swept(folder: Path, listed: ScoredList, seeds: tuple[int, ...] = (1,)) -> Path:
    """What ``dcc compare`` reads of a sweep: two rows, the second of them named first in the alphabet."""
    rows = []
    for name, kernel, match in (("NC-Net", None, one_place), ("Baseline+S", 3, same_place)):
        for seed in seeds:
            evaluated(folder / name.lower() / f"seed{seed}", match, listed)
        runs = [{"seed": seed, "pck": 1.0} for seed in seeds] + [{"seed": 9, "pck": None}]
        rows.append({"method": name, "kernel": kernel, "folder": name.lower(), "runs": runs})
    (folder / "sweep.json").write_text("{}")
    (folder / "results.json").write_text(json.dumps({"rows": rows}))
    return folder


def test_a_sweep_stands_for_its_runs_in_the_order_of_its_rows(listed: ScoredList, tmp_path: Path) -> None:
    found = read_results([swept(tmp_path / "one", listed)])
    assert [(result.name, result.model) for result in found] == [
        ("NC-Net", "runs/seed1"),
        ("Baseline+S", "runs/seed1"),
    ]
    assert found[0].outcomes != found[1].outcomes
    two_seeds = swept(tmp_path / "two", listed, (1, 2))
    names = ["NC-Net, seed 1", "NC-Net, seed 2", "Baseline+S, seed 1", "Baseline+S, seed 2"]
    assert [result.name for result in read_results([two_seeds])] == names
    (two_seeds / "nc-net" / "seed2" / "results.json").unlink()
    assert "because an earlier version scored it" in said(two_seeds)
    (two_seeds / "results.json").write_text('{"rows": [{}]}')
    assert "--resume" in said(two_seeds)
    (two_seeds / "results.json").unlink()
    assert "no run of the sweep" in said(two_seeds)


def test_the_figure_that_is_suggested_has_the_largest_differences(
    listed: ScoredList, two: list[Path]
) -> None:
    comparison = compare(read_results(two), listed.load())
    comparison.shares[1, :, comparison.index] = comparison.shares[0, :, comparison.index] + [
        *(0, 5, -9, 1),
        *(2, 1.5, 20, -3),
    ]
    words = [
        "dcc",
        "figure",
        *map(str, two),
        "--names",
        "NC-Net,my net",
        "--pairs",
        "7,6,3",
        "-o",
        "figure.pdf",
    ]
    assert shlex.split(figure_of(two, comparison, "NC-Net,my net")) == words


def test_the_interval_of_a_difference_is_narrower_than_those_of_the_scores() -> None:
    """Both scores move with the photographs; their difference does not."""
    rng = np.random.default_rng(0)

    def unread() -> None:
        raise AssertionError

    pictures = [Picture(str(i), unread) for i in range(30)]  # type: ignore[arg-type]
    pairs = [Pair(a, b, "c") for a, b in zip(pictures, [*pictures[1:], pictures[0]], strict=True)]
    quality = rng.normal(70, 15, (30, 1))
    other = quality + 5 + rng.normal(0, 1, (30, 1))
    bootstrap, everything = Bootstrap(pairs), np.arange(30)
    ((low, high),) = bootstrap.of_pairs(quality, [everything]) or ()
    found = difference(other - quality, {"c": everything}, bootstrap)
    ((below, above),) = found.overall.interval or ()
    assert below < 5 < above and above - below < (high - low) / 4
    assert found.better == (30,) and found.classes["c"] == found.overall


def test_what_cannot_be_compared_is_refused(two: list[Path], listed: ScoredList, tmp_path: Path) -> None:
    first = two[0]
    assert "at least two evaluations" in said(first)
    assert "named twice" in said(first, first)
    assert "pairs.csv would be lost" in said(*two, "-o", first)
    assert "holds no results of dcc eval" in said(first, tmp_path)
    rows = [tiny.pascal_row(i, i + 1, "cat") for i in range(8)]
    other_list = ScoredList("pairs", str(tiny.pf_pascal(tmp_path / "data", rows, pairs=8)))
    assert "different lists" in said(first, evaluated(tmp_path / "list", same_place, other_list))
    scnet = ScoredList("pairs", listed.data, protocol="scnet")
    assert "different protocols" in said(first, evaluated(tmp_path / "protocol", same_place, scnet))
    coarse = evaluated(tmp_path / "alpha", same_place, listed, (0.3,))
    assert "no threshold in common" in said(first, coarse)
    (coarse / "results.json").write_text('{"benchmark": "video"}')
    assert "evaluation of videos" in said(first, coarse)
    (coarse / "results.json").write_text("[]")
    assert "is damaged or no result" in said(first, coarse)


def test_results_that_are_not_whole_say_what_to_do(
    listed: ScoredList, two: list[Path], tmp_path: Path
) -> None:
    cut = evaluated(tmp_path / "cut", same_place, listed)
    lines = (cut / JOURNAL).read_text().splitlines(keepends=True)
    (cut / JOURNAL).write_text("".join(lines[:-1]) + lines[-1][:20])
    assert "is not complete: run the same dcc eval again" in said(two[0], cut)
    (cut / JOURNAL).write_text("{}\n")
    assert "is damaged" in said(two[0], cut)
    (cut / JOURNAL).write_text("".join(lines))
    (cut / FILE).unlink()
    assert "because an earlier version wrote it" in said(cut, two[0])
    done = CliRunner().invoke(command, ["compare", str(two[0]), str(cut), "--json"])
    assert done.exit_code == 0  # the first says which list it is


def test_a_list_that_moved_or_changed(listed: ScoredList, tmp_path: Path) -> None:
    old = tmp_path / "old"
    path = tiny.pf_pascal(old, [tiny.pascal_row(0, 1, "cat"), tiny.pascal_row(1, 2, "cat")], pairs=2)
    results = [
        evaluated(tmp_path / name, match, ScoredList("pairs", str(path)))
        for name, match in (("a", one_place), ("b", same_place))
    ]
    old.rename(tmp_path / "new")
    assert "does not exist" in said(*results)
    moved = tmp_path / "new" / path.relative_to(old)
    done = CliRunner().invoke(command, ["compare", *map(str, results), "--data", str(moved), "--json"])
    assert (
        json.loads(done.stdout)["models"][1]["difference"]["overall"]["interval"] is None
    )  # 3 photographs
    moved.write_text(moved.read_text().replace("33.5", "33"))
    assert "has changed since" in said(*results, "--data", moved)


def test_the_commands_together(bundle: Bundle, listed: ScoredList, tmp_path: Path, dcc: Cli) -> None:
    scored = ("--benchmark", "pairs", "--data", listed.data)
    for name in ("one", "other"):
        done = CliRunner().invoke(command, ["eval", str(bundle.path), *scored, "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    done = dcc("compare", tmp_path / "one", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert "+0.0 [+0.0, +0.0]" in done.stdout and "0 / 8 / 0" in done.stdout
    one_sentence(dcc("compare", tmp_path / "one"), 2, "at least two")
