"""The benchmarks' protocols: an example of each by hand, and the released rule implemented again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.pck import carry_keypoints, keypoint_distances
from dccnet.evaluation.report import _by_quality
from dccnet.evaluation.scoring import Outcome
from dccnet.evaluation.summary import Summary, summarise
from dccnet.runtime.arrays import Floats
from dccnet.runtime.correspondences import Correspondences
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.results import identity, with_windows

SIZE = (tiny.HEIGHT, tiny.WIDTH)


def released_transfer(
    points: Floats, size_a: tuple[int, int], size_b: tuple[int, int], index: Floats
) -> Floats:
    """1-based source points from 1-based target points ``(2, N)``, in the steps of the released evaluation:
    unit coordinates, four cells, normalised weights, pixels (spec §2)."""
    h, w = index.shape
    axis_x, axis_y = np.linspace(-1, 1, w), np.linspace(-1, 1, h)
    column, row = index % w, index // w
    out = np.empty_like(points)
    for n, (x, y) in enumerate(points.T):
        u = (x - 1 - (size_b[1] - 1) / 2) * 2 / (size_b[1] - 1)
        v = (y - 1 - (size_b[0] - 1) / 2) * 2 / (size_b[0] - 1)
        x0, y0 = max((axis_x < u).sum() - 1, 0), max((axis_y < v).sum() - 1, 0)
        total, blend = 0.0, np.zeros(2)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            # The distance to the opposite corner is the weight.
            weight = abs(u - axis_x[x0 + 1 - i]) * abs(v - axis_y[y0 + 1 - j])
            cell = (y0 + j, x0 + i)
            blend += weight * np.array([axis_x[column[cell]], axis_y[row[cell]]])
            total += weight
        blend /= total
        out[:, n] = [
            blend[0] * (size_a[1] - 1) / 2 + 1 + (size_a[1] - 1) / 2,
            blend[1] * (size_a[0] - 1) / 2 + 1 + (size_a[0] - 1) / 2,
        ]
    return out


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 7))
@settings(max_examples=60, deadline=None)
def test_scnet_scales_one_based_points_before_the_transfer(seed: int, h: int, w: int) -> None:
    rng = np.random.default_rng(seed)
    size_a, size_b = ((int(rng.integers(20, 500)), int(rng.integers(20, 500))) for _ in "ab")
    index = rng.integers(0, h * w, (h, w))
    scores = np.ones((h, w), np.float32)
    result = Correspondences(size_a, size_b, index, scores, index, scores)
    points = rng.uniform(1, [size_b[1], size_b[0]], (6, 2))
    truth = rng.uniform(1, [size_a[1], size_a[0]], (6, 2))
    to_a, to_b = (224 / np.array([size[1], size[0]]) for size in (size_a, size_b))
    square = (224, 224)
    expected = released_transfer((points * to_b).T, square, square, index).T

    carried = carry_keypoints(result, points - 1, "scnet")
    np.testing.assert_allclose((carried + 1) * to_a, expected, atol=1e-9)
    distances = np.linalg.norm(expected - truth * to_a, axis=1)
    np.testing.assert_allclose(
        keypoint_distances(carried, truth - 1, size_a, "scnet"), distances, atol=1e-9
    )


def test_the_rule_of_these_tests_is_the_authors(golden: dict[str, torch.Tensor]) -> None:
    index = (6 * golden["net_match_row_a"] + golden["net_match_col_a"])[0].reshape(6, 6).numpy()
    sizes = [tuple(int(v) for v in golden[f"points_{side}_size_hw"][0]) for side in ("source", "target")]
    points = golden["points_target"][0].numpy().astype(np.float64)
    warped = released_transfer(points, sizes[0], sizes[1], index)  # type: ignore[arg-type]
    np.testing.assert_allclose(warped, golden["points_warped"][0].numpy(), rtol=1e-4)


def scored(benchmark: Benchmark, result: Correspondences, *alphas: float) -> Outcome:
    return benchmark.score(benchmark.cases[0], result, alphas or benchmark.alphas)


def test_pf_pascal_by_hand(tmp_path: Path) -> None:
    # Both pictures 40x30. Scaled to 224, a step in x is 5.6 pixels and one in y 7.4667. The identity
    # carries every point to its own place, so distances are those between the two columns of points:
    # (4, 0) -> 22.4 = 0.1 · 224; (0, 3) -> 22.4 too; (4, 1) -> 23.6. Of thresholds, 0.1001 · 224 = 22.42.
    row = tiny.pascal_row(0, 1, 8, "5;20;30,4;15;20,9;20;34,4;18;21")
    benchmark = load_benchmark("pf-pascal", tiny.pf_pascal(tmp_path, [row]).parent.parent)
    outcome = scored(benchmark, identity(SIZE), 0.0999, 0.1001, 0.11)
    np.testing.assert_allclose(outcome.distances, [22.4, 22.4, np.hypot(22.4, 224 / 30)], rtol=1e-12)
    assert outcome.length == 224
    assert outcome.category == "cat"
    assert (outcome.hits, outcome.count) == ((0, 2, 3), 3)


def test_pf_willow_by_hand(tmp_path: Path) -> None:
    # XA runs from 1 to 19, YA from 1 to 10: the box's longer side is 18 and α = 0.05 means 0.9 pixels.
    xa, ya = [1 + 2 * i for i in range(10)], [1 + i for i in range(10)]
    off = [0, 0.9, 1.0, 1.8, 1.9, 2.7, 2.8, 0, 0, 0]  # pixels by which XB is too far right
    columns = [*xa, *ya, *(x + d for x, d in zip(xa, off, strict=True)), *ya]
    benchmark = load_benchmark("pf-willow", tiny.pf_willow(tmp_path, 1, [str(v) for v in columns]).parent)
    outcome = scored(benchmark, identity(SIZE), 0.0501, 0.1001, 0.1501)
    assert outcome.length == 18
    assert outcome.hits == (5, 7, 9)
    assert outcome.category == "car(S)"


def test_padding_is_not_part_of_pf_willows_box(tmp_path: Path) -> None:
    xa = [5, 9, *[-1] * 8]
    benchmark = load_benchmark("pf-willow", tiny.pf_willow(tmp_path, 1, [str(v) for v in xa * 4]).parent)
    outcome = scored(benchmark, identity(SIZE))
    assert (outcome.count, outcome.length) == (2, 4.0)


def test_spair_by_hand(tmp_path: Path) -> None:
    # The target's box is 30 by 20: α = 0.1 means 3 pixels. Source points are carried to the target.
    points = {"src_kps": [[4, 3], [20, 14], [7, 7]], "trg_kps": [[7, 3], [20, 17.5], [7, 7]]}
    benchmark = load_benchmark("spair", tiny.spair(tmp_path, 1, **points))
    outcome = scored(benchmark, identity(SIZE), 0.1001)
    np.testing.assert_allclose(outcome.distances, [3, 3.5, 0], atol=1e-12)
    assert (outcome.hits, outcome.length) == ((2,), 30.0)


def test_spair_transfers_from_source_to_target(tmp_path: Path) -> None:
    there = {"src_kps": [[0, 0]], "trg_kps": [[39, 29]]}
    benchmark = load_benchmark("spair", tiny.spair(tmp_path, 1, **there))
    index, score = np.arange(4).reshape(2, 2), np.ones((2, 2), np.float32)
    # Every cell of A matches the last cell of B; the other direction differs.
    result = Correspondences(SIZE, SIZE, np.full((2, 2), 3), score, index, score)
    assert scored(benchmark, result).hits == (1,)


@pytest.mark.parametrize("name", ["pf-willow", "pairs", "spair"])
def test_points_are_carried_by_both_rules_and_kept_apart(tmp_path: Path, name: str) -> None:
    """The truth is where sub-cell transfer goes: all hits there, and the benchmark's as without windows."""
    result = with_windows(SIZE, 0)
    here = np.array([[7.0, 4.0], [20.0, 14.0], [33.0, 21.0]])
    there = result.transfer(here, from_="a" if name == "spair" else "b")
    assert np.linalg.norm(there - here, axis=1).min() > 0.05
    if name == "spair":
        points = {"src_kps": here.tolist(), "trg_kps": there.tolist()}
        benchmark = load_benchmark("spair", tiny.spair(tmp_path, 1, **points))
    elif name == "pairs":
        columns = [";".join(map(str, column)) for column in (*there.T, *here.T)]
        path = tiny.pf_pascal(tmp_path, [tiny.pascal_row(0, 1, 8, ",".join(columns))])
        benchmark = load_benchmark("pairs", path, tmp_path)
    else:
        padded = [[*(v + 1 for v in column), *[-1] * 7] for column in (*there.T, *here.T)]
        row = [str(v) for column in padded for v in column]
        benchmark = load_benchmark("pf-willow", tiny.pf_willow(tmp_path, 1, row).parent)
    outcome = scored(benchmark, result, 1e-6, 0.5)
    plain = scored(benchmark, identity(SIZE), 1e-6, 0.5)
    assert outcome.subcell_hits == (3, 3) and plain.subcell_hits == ()
    assert outcome.hits[0] == 0
    assert dataclasses.replace(outcome, subcell_hits=()) == plain


def test_a_summary_names_both_rules(tmp_path: Path) -> None:
    benchmark = load_benchmark("tss", tiny.tss(tmp_path).parent)
    outcomes = [outcome("FG3DCAR", (1,), 2), outcome("PASCAL", (2,), 4)]
    moved = [dataclasses.replace(o, subcell_hits=(o.count,)) for o in outcomes]

    def summary(*outcomes: Outcome) -> Summary:
        return summarise(benchmark, outcomes, (0.05,), model="m", model_sha256="", backend="b")

    both = summary(*moved)
    assert both.transfer == "cells" and both.headline == (50,)
    assert both.subcell is not None and both.subcell.headline == (100,)
    assert both.subcell.classes["PASCAL"].per_point == (100,)
    assert dataclasses.replace(both, subcell=None) == summary(*outcomes)
    assert summary(moved[0], outcomes[1]).subcell is None  # resumed from a run of dccnet 0.1


def outcome(category: str, hits: tuple[int, ...], count: int) -> Outcome:
    return Outcome(f"{category}{hits}{count}", category, count, hits, 1.0)


@pytest.mark.parametrize(("over", "headline"), [("pairs", 250 / 3), ("classes", 75.0)])
def test_means_per_pair_per_point_and_per_class_differ(tmp_path: Path, over: str, headline: float) -> None:
    benchmark = dataclasses.replace(
        load_benchmark("tss", tiny.tss(tmp_path).parent),
        mean_over=over,  # type: ignore[arg-type]
    )
    outcomes = [outcome("FG3DCAR", (1,), 1), outcome("FG3DCAR", (4,), 4), outcome("PASCAL", (1,), 2)]
    summary = summarise(benchmark, outcomes, (0.05,), model="m", model_sha256="", backend="b")
    assert summary.headline == pytest.approx((headline,))
    assert summary.overall.per_pair == pytest.approx((250 / 3,))
    assert summary.overall.per_point == pytest.approx((600 / 7,))
    assert {name: s.per_pair for name, s in summary.classes.items()} == {
        "FG3DCAR": (100.0,),
        "PASCAL": (50.0,),
    }


def test_a_box_around_one_keypoint_is_counted_and_reported(tmp_path: Path) -> None:
    """It has no size, so that PCK is 0 whatever the network finds; the report divided by it."""
    benchmark = load_benchmark("tss", tiny.tss(tmp_path).parent)
    case = dataclasses.replace(outcome("PASCAL", (0,), 1), length=0.0, distances=(3.0,))
    summary = summarise(
        benchmark, [case, outcome("PASCAL", (1,), 2)], (0.05,), model="m", model_sha256="", backend="b"
    )
    assert summary.without_size == 1
    assert _by_quality([case, outcome("PASCAL", (1,), 2)], 0) == [1, 0]
