"""Baselines and confidence intervals: of photographs, not of pairs; in the terminal, JSON and report."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.evaluation.baseline import NEAREST_NEIGHBOUR, SAME_PLACE, nearest_neighbour, same_place
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.intervals import Bootstrap
from dccnet.evaluation.pairs import Pair, Picture, file_picture
from dccnet.evaluation.scoring import Outcome
from dccnet.evaluation.summary import summarise
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.commands import Cli


def picture(name: int) -> Picture:
    def load() -> Image:
        raise AssertionError("no picture is needed")

    return Picture(str(name), load)


def all_pairs(pictures: int) -> list[Pair]:
    named = [picture(number) for number in range(pictures)]
    return [Pair(a, b, "c") for a, b in itertools.permutations(named, 2)]


def everything(pairs: Sequence[Pair]) -> list[np.ndarray]:
    return [np.arange(len(pairs))]


def test_draws_are_of_photographs_and_not_of_pairs() -> None:
    """Scores that belong to pictures: as many pairs as there are do not make their mean more certain."""
    pairs = all_pairs(30)
    quality = np.random.default_rng(0).normal(70, 10, 30)
    values = np.array([[(quality[int(p.source.key)] + quality[int(p.target.key)]) / 2] for p in pairs])
    ((low, high),) = Bootstrap(pairs).of_groups(values, everything(pairs)) or ()
    expected = 2 * 1.96 * quality.std() / np.sqrt(30)  # the mean of 30 pictures
    assert 0.8 * expected < high - low < 1.2 * expected
    assert low < quality.mean() < high
    of_pairs = 2 * 1.96 * values.std() / np.sqrt(len(pairs))
    assert high - low > 3 * of_pairs


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    pairs = all_pairs(20)
    ends = np.array([[int(p.source.key), int(p.target.key)] for p in pairs])
    covered = 0
    for _ in range(60):
        quality = rng.normal(0, 1, 20)
        values = (quality[ends].mean(axis=1) + rng.normal(0, 0.3, len(pairs)))[:, None]
        ((low, high),) = Bootstrap(pairs, draws=200).of_groups(values, everything(pairs)) or ()
        covered += low <= 0 <= high
    assert covered >= 51  # 95 % are 57; a bootstrap of 20 photographs is a little short


@given(st.integers(5, 12), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_intervals_lie_between_the_extremes_and_are_the_same_every_time(pictures: int, seed: int) -> None:
    pairs = all_pairs(pictures)
    values = np.random.default_rng(seed).uniform(0, 100, (len(pairs), 2))
    once, again = (Bootstrap(pairs, draws=50).of_groups(values, everything(pairs)) for _ in "ab")
    assert once == again and once is not None
    for (low, high), column in zip(once, values.T, strict=True):
        assert column.min() <= low <= high <= column.max()
    constant = Bootstrap(pairs, draws=50).of_groups(np.full((len(pairs), 1), 42.0), everything(pairs))
    assert constant is not None and constant[0] == pytest.approx((42, 42))


def test_copies_of_a_file_are_one_photograph_and_few_have_no_interval(tmp_path: Path) -> None:
    pixels = [tiny.picture(number) for number in range(4)]
    files = [tiny.write(tmp_path / f"{number}.png", pixels[number % 4]) for number in range(8)]
    pairs = [Pair(file_picture(a, flip=True), file_picture(b), "c") for a, b in itertools.pairwise(files)]
    bootstrap = Bootstrap(pairs)
    assert bootstrap.photographs == 4 and "of 4 photographs" in bootstrap.description
    assert bootstrap.of_groups(np.ones((len(pairs), 1)), everything(pairs)) is None


def test_classes_keep_their_share_unless_one_has_too_few_photographs() -> None:
    named = [picture(number) for number in range(40)]
    large = [Pair(a, b, "large") for a, b in itertools.permutations(named[:30], 2)]
    small = [Pair(a, b, "small") for a, b in itertools.permutations(named[30:], 2)]
    pairs = [*large, *small]
    values = np.array([[0.0]] * len(large) + [[100.0]] * len(small))
    classes = [np.arange(len(large)), np.arange(len(large), len(pairs))]
    bootstrap = Bootstrap(pairs)
    share = 100 * len(small) / len(pairs)
    assert bootstrap.of_groups(values, classes) == ((50.0, 50.0),)
    assert bootstrap.of_pairs(values, classes) == (pytest.approx((share, share)),)
    ((low, high),) = bootstrap.of_pairs(values, everything(pairs)) or ()  # as if there were no classes
    assert low < share < high < 40
    singles = [np.array([number]) for number in range(len(pairs))]  # a class for every pair
    assert bootstrap.of_pairs(values, singles) == ((low, high),)


def test_the_same_place_is_relative_to_the_sides() -> None:
    moved = same_place((101, 201), (51, 301)).transfer([[0, 0], [300, 50], [30, 25]], from_="b")
    np.testing.assert_allclose(moved, [[0, 0], [200, 100], [20, 50]])


def test_nearest_neighbours_in_both_directions_whatever_the_length_of_features() -> None:
    rng = np.random.default_rng(0)
    za = rng.normal(size=(1, 8, 3, 4)).astype(np.float16)
    order = rng.permutation(12)
    scale = rng.uniform(0.5, 3, 12)
    zb = (za.reshape(8, 12)[:, order] * scale).reshape(1, 8, 2, 6).astype(np.float32)
    result = nearest_neighbour(za, zb, (30, 40), (20, 60))
    assert result.index_b.shape == (2, 6) and result.index_a.shape == (3, 4)
    np.testing.assert_array_equal(result.index_b.ravel(), order)
    np.testing.assert_array_equal(result.index_a.ravel(), np.argsort(order))
    np.testing.assert_allclose(result.score_a, 1, atol=1e-3)
    assert result.rule == "subcell"
    cells = nearest_neighbour(za, zb, (30, 40), (20, 60), heatmaps=False)
    assert cells.rule == "cells"
    np.testing.assert_array_equal(cells.index_b, result.index_b)
    np.testing.assert_array_equal(cells.score_b, result.score_b)


def test_baselines_of_a_run_that_began_without_them_are_left_out(tmp_path: Path) -> None:
    benchmark = load_benchmark("pf-willow", tiny.pf_willow(tmp_path).parent)
    old = Outcome("1", "car(S)", 10, (5, 6, 7), 1.0)
    new = Outcome("2", "car(S)", 10, (5, 6, 7), 1.0, baseline_hits={SAME_PLACE: (1, 2, 3)})
    named = {"model": "m", "model_sha256": "", "backend": "b"}
    assert summarise(benchmark, [old, new], benchmark.alphas, **named).baselines == {}
    both = summarise(benchmark, [new, new], benchmark.alphas, **named)
    assert both.baselines[SAME_PLACE].headline == (10, 20, 30)
    assert both.baselines[SAME_PLACE].classes["car(S)"].points == 20
    assert both.intervals is None and both.headline_interval is None


def test_intervals_and_baselines_are_in_every_output(bundle: Bundle, dcc: Cli, tmp_path: Path) -> None:
    tiny.pf_willow(tmp_path / "data", pairs=6)
    command = ["eval", bundle.path, "--benchmark", "pf-willow", "--data", tmp_path / "data", "--intervals"]
    done = dcc(*command, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(result["baselines"]) == {SAME_PLACE, NEAREST_NEIGHBOUR}
    assert "bootstrap draws of 7 photographs" in result["intervals"]
    rows = [result, result["subcell"], *result["baselines"].values()]
    for row in rows:
        for score, (low, high) in zip(row["headline"], row["headline_interval"], strict=True):
            assert low <= score <= high
        assert row["overall"]["per_pair_interval"] == row["headline_interval"]
    low, high = result["headline_interval"][1]
    for text in (SAME_PLACE, NEAREST_NEIGHBOUR, f"[{low:.1f}, {high:.1f}]", "intervals: 95 %"):
        assert text in done.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (
        f">{SAME_PLACE}<",
        f">{NEAREST_NEIGHBOUR}<",
        f"[{low:.1f}, {high:.1f}]",
        "Intervals: 95 %",
    ):
        assert text in page
    with (tmp_path / "out" / "pairs.csv").open() as file:
        pairs = list(csv.DictReader(file))
    # The keypoints are the same in both pictures, which have the same size.
    assert [row["same_relative_place_hits@0.05"] for row in pairs] == ["10"] * 6
    assert result["baselines"][SAME_PLACE]["headline"] == [100, 100, 100]
