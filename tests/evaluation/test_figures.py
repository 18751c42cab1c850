"""``dcc figure``: its panels, its files, and what it says where something is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torchvision.utils import flow_to_image

from dccnet.cli import dcc as command
from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.figures.inputs import find_inputs
from dccnet.evaluation.figures.panels import STYLES, headings, rows
from dccnet.evaluation.scored_list import ScoredList
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.drawing.flow_colours import flow_colours, flow_wheel
from dccnet.runtime.errors import DccError, UsageError
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.results import identity, with_windows

SIZE = (tiny.HEIGHT, tiny.WIDTH)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.pf_pascal(tmp_path_factory.mktemp("figures"), pairs=3)


@pytest.fixture(scope="module")
def benchmark(path: Path) -> Benchmark:
    return load_benchmark("pairs", path, one_based=True)


def heated() -> Correspondences:
    """Cells match themselves by all scores."""
    scores = np.eye(20, dtype=np.float32).reshape(4, 5, 4, 5)
    cells = identity(SIZE)
    return Correspondences(
        *(SIZE, SIZE, cells.index_a, cells.score_a, cells.index_b, cells.score_b), scores, scores
    )


def test_flow_has_middleburys_colours() -> None:
    flow = np.random.default_rng(0).normal(0, 5, (40, 50, 2)).astype(np.float32)
    expected = flow_to_image(torch.from_numpy(flow).permute(2, 0, 1)).permute(1, 2, 0).numpy()[..., ::-1]
    longest = float(np.linalg.norm(flow, axis=-1).max())
    assert np.abs(flow_colours(flow, longest).astype(int) - expected).max() <= 1
    flow[0, 0] = np.nan
    assert (flow_colours(flow, longest)[0, 0] == 0).all()
    still = flow_colours(np.zeros((1, 1, 2), np.float32), 1.0)
    assert (still == 255).all()
    wheel = flow_wheel(41)
    assert (wheel[20, 20] > 240).all() and (wheel[0, 0] == 255).all()
    b, g, r = map(int, wheel[20, 40])  # to the right: red
    assert r == 255 and max(b, g) < 20


def test_keypoints_are_those_that_are_scored(benchmark: Benchmark) -> None:
    case = benchmark.cases[0]
    (row,) = rows("keypoints", benchmark, case, [("m", identity(SIZE))], 0.1, 1)
    given, found = row.panels
    np.testing.assert_array_equal(given.image, case.pair.target.load())
    np.testing.assert_array_equal(given.dots, case.pair.target_points)
    np.testing.assert_array_equal(found.squares, case.pair.source_points)
    outcome = benchmark.score(case, identity(SIZE), (0.1,))
    np.testing.assert_allclose(found.dots, outcome.carried)
    assert found.caption == f"{outcome.hits[0]} of 3 right"


def test_a_score_map_is_brightest_where_the_match_is(benchmark: Benchmark) -> None:
    case = benchmark.cases[0]
    first, second = (
        row
        for point in (1, 2)
        for row in rows("scores", benchmark, case, [("NC-Net", heated())], 0.1, point)
    )
    for number, row in enumerate((first, second)):
        given, match, scores = row.panels
        assert row.label == "NC-Net" and len(given.dots) == len(match.squares) == 1
        grey = cv2.cvtColor(scores.image, cv2.COLOR_BGR2GRAY)
        y, x = np.unravel_index(grey.argmax(), grey.shape)
        cell = [(tiny.WIDTH - 1) / 4, (tiny.HEIGHT - 1) / 3]
        assert np.abs(np.subtract([x, y], given.dots[0])).max() <= max(cell) / 2 + 1, number
    with pytest.raises(UsageError, match="has 3 keypoints: there is no --point 4"):
        rows("scores", benchmark, case, [("NC-Net", heated())], 0.1, 4)
    with pytest.raises(UsageError, match="NC-Net returns no score maps"):
        rows("scores", benchmark, case, [("NC-Net", identity(SIZE))], 0.1, 1)


def test_pairs_without_keypoints_have_flow_with_its_truth(tmp_path: Path) -> None:
    flow = np.full((*SIZE, 2), 3, np.float32)
    benchmark = load_benchmark("tss", tiny.tss(tmp_path, flow))
    case, results = benchmark.cases[0], [("m", with_windows(SIZE, 0))]
    (row,) = rows("flow", benchmark, case, results, 0.1, 1)
    assert len(row.panels) == len(headings("flow", ["m"], with_truth=True)) == 4
    truth = row.panels[2].image
    assert len(np.unique(truth.reshape(-1, 3), axis=0)) == 1 and truth[0, 0].min() < 200
    with pytest.raises(UsageError, match="has no keypoints: choose --style warp or flow"):
        rows("keypoints", benchmark, case, results, 0.1, 1)


def test_figures_of_all_styles_from_checkpoint_and_bundle(
    checkpoint: Path, bundle: Bundle, path: Path, tmp_path: Path
) -> None:
    for style in STYLES:
        models = [checkpoint] if style == "scores" else [checkpoint, bundle.path]
        out = tmp_path / f"{style}.pdf"
        arguments = [*models, "--data", path, "--one-based", "--pairs", "1,3", "--style", style, "-o", out]
        done = CliRunner().invoke(command, ["figure", *map(str, arguments)])
        assert done.exit_code == 0, (done.output, done.exception)
        content = out.read_bytes()
        assert b"/Type3" not in content and b"/FontFile2" in content  # TrueType, embedded
        inside = len(re.findall(rb"/Subtype /Image", content))
        pictures = {"keypoints": 6, "scores": 6, "warp": 8, "flow": 9}[style]
        assert 4 <= inside <= pictures  # the same picture is embedded once
        again = tmp_path / "again.pdf"
        if style == "keypoints":
            CliRunner().invoke(command, ["figure", *map(str, arguments[:-1]), str(again)])
            assert again.read_bytes() == content


def test_the_command_by_itself(
    checkpoint: Path, path: Path, tmp_path: Path, dcc: Cli, dcc_here: Cli
) -> None:
    listed = ("--data", path, "--one-based")
    done = dcc("figure", checkpoint, *listed, "--pairs", "2", "-o", tmp_path / "f.svg", "--names", "m$a_$")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "f.svg").read_text()
    assert ">m$a_$</text>" in text and text.count("<image") == 2  # text can be edited
    one_sentence(
        dcc_here("figure", checkpoint, *listed, "--pairs", "4", "-o", "f.pdf"), 2, "numbers from 1 to 3"
    )


def test_folders_of_evaluations_name_their_models_and_their_list(path: Path, tmp_path: Path) -> None:
    listed = ScoredList("pairs", str(path), one_based=True)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"model": str(tmp_path / f"{name}.st")}))
        (tmp_path / f"{name}.st").touch()
        listed.write(tmp_path / name)
    (tmp_path / "b" / "b.st").touch()  # where a folder was moved with its model
    found = find_inputs([tmp_path], None)
    assert found.models == [tmp_path / "a.st", tmp_path / "b" / "b.st"]
    assert found.names == ["a", "b"] and found.listed == listed
    other = ScoredList("pairs", "other.csv")
    found = find_inputs([tmp_path / "a", Path("nets/c.safetensors")], other)
    assert found.names == ["a", "c"] and found.listed == other
    with pytest.raises(UsageError, match="--data LIST says"):
        find_inputs([Path("nets/c.safetensors")], None)
    (tmp_path / "a.st").unlink()
    with pytest.raises(DccError, match="is no longer there"):
        find_inputs([tmp_path], None)
    done = CliRunner().invoke(
        command, ["figure", str(tmp_path), "--root", "x", "--pairs", "1", "-o", "f.pdf"]
    )
    assert "options of a list go with --data" in str(done.exception)


def test_wrong_arguments_are_told_before_a_model_is_loaded(path: Path, tmp_path: Path) -> None:
    picture = load_benchmark("pairs", path, one_based=True).cases[0].pair.source.file
    for arguments, says in (
        (("--pairs", "1", "-o", "f.jpg"), "its suffix must be one of .pdf, .svg, .png"),
        (("--pairs", "1", "-o", "f.pdf", "--names", "a,b"), "--names has 2 names: give 1"),
        (("--pairs", "1", "-o", "f.pdf", "--names", "a,"), "--names takes names between commas"),
        (("absent", "--pairs", "1", "-o", "f.pdf"), "named twice"),
        (("--pairs", "x", "-o", "f.pdf"), "--pairs takes numbers from 1 to 3"),
        (("--pairs", "1", "-o", str(picture)), "is also an input"),
    ):
        every = ["figure", "absent", "--data", str(path), "--one-based", *arguments]
        error = CliRunner().invoke(command, every).exception
        assert isinstance(error, DccError) and says in str(error)
