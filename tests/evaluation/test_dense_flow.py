"""TSS's protocol: flow into the source as its file shows it, thresholds, borders; a perfect matcher."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.scoring import Outcome
from dccnet.runtime.arrays import Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import UsageError
from dccnet.runtime.geometry import Size
from dccnet.runtime.writers import UNKNOWN_FLOW
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.paths import ROOT
from tests.helpers.results import identity, with_windows

SIZE = (tiny.HEIGHT, tiny.WIDTH)
# TSS's own two sample pairs are not in the repository; generated pairs test the same without them.
SAMPLE = Path(os.environ.get("DCC_TSS_SAMPLE", ROOT.parent / "shared" / "data" / "tss-sample"))


def scored(benchmark: Benchmark, result: Correspondences, *alphas: float, case: int = 0) -> Outcome:
    return benchmark.score(benchmark.cases[case], result, alphas or benchmark.alphas)


def perfect(places: Points, size_a: Size, *, mirrored: bool) -> Correspondences:
    """A network with a cell for each pixel that finds ``places`` ``(H, W, 2)``, pixels of the source as its
    file shows it. It is shown the source mirrored, so that it answers with places in the mirror image."""
    height, width = places.shape[:2]
    x, y = np.clip(np.rint(places), 0, [size_a[1] - 1, size_a[0] - 1]).astype(np.int64).transpose(2, 0, 1)
    index = y * size_a[1] + (size_a[1] - 1 - x if mirrored else x)
    there = np.zeros(size_a, np.int64)
    scores = np.ones((height, width), np.float32)
    return Correspondences(size_a, (height, width), there, np.ones(size_a, np.float32), index, scores)


def pixels(size: Size) -> Points:
    return np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1).astype(np.float64)


def inner(size: Size) -> NDArray[np.uint8]:
    """A foreground without the picture's border."""
    mask = np.zeros(size, np.uint8)
    mask[1:-1, 1:-1] = 255
    return mask


def test_tss_by_hand(tmp_path: Path) -> None:
    # 40x30: α = 0.05 means 2 pixels. The identity's flow is zero, so the truth is the error.
    flow = np.zeros((30, 40, 2), np.float32)
    flow[:10, :, 0] = 1.999  # right
    flow[10:20, :, 1] = 2.125  # wrong
    flow[20:, :20] = 1e10  # no truth: not counted
    mask = inner(SIZE)
    mask[:, 30:] = 0  # background: not counted
    benchmark = load_benchmark("tss", tiny.tss(tmp_path, flow, mask).parent)
    outcome = scored(benchmark, identity(SIZE))
    assert outcome.count == 9 * 29 + 10 * 29 + 9 * 10
    assert outcome.hits == (9 * 29 + 9 * 10,)
    assert outcome.length == 40


def test_the_threshold_goes_by_the_picture_that_the_flow_points_into(tmp_path: Path) -> None:
    # Source 80x30, target 40x30: α = 0.05 means 4 pixels, as the source is 80 wide.
    source = (30, 80)
    same_place = pixels(SIZE) * [79 / 39, 1] - pixels(SIZE)
    truth = same_place.astype(np.float32)
    truth[:15, :, 0] += 3.9
    truth[15:, :, 0] += 4.1
    path = tiny.tss(tmp_path, truth, inner(SIZE), source_size=source)
    grid = np.arange(20).reshape(4, 5)
    ones = np.ones((4, 5), np.float32)
    outcome = scored(load_benchmark("tss", path), Correspondences(source, SIZE, grid, ones, grid, ones))
    assert (outcome.length, outcome.count, outcome.hits) == (80, 28 * 38, (14 * 38,))


@given(
    st.booleans(),
    st.tuples(st.integers(20, 60), st.integers(20, 60)),
    st.tuples(st.integers(20, 60), st.integers(20, 60)),
    st.floats(-0.1, 0.1),
)
@settings(max_examples=25, deadline=None)
def test_a_perfect_matcher_has_all_points(
    tmp_path_factory: pytest.TempPathFactory, flip: bool, source: Size, target: Size, shear: float
) -> None:
    """If things face opposite ways (flip A = 1), the true flow still points into the source as it is."""
    unit = pixels(target) / [target[1] - 1, target[0] - 1] - 0.5
    across = -unit[..., 0] if flip else unit[..., 0]
    moved = 0.5 + 0.7 * np.stack([across + shear * unit[..., 1], unit[..., 1] + shear * across], axis=-1)
    places = moved * [source[1] - 1, source[0] - 1]
    truth = (places - pixels(target)).astype(np.float32)
    path = tiny.tss(
        tmp_path_factory.mktemp("tss"),
        truth,
        row=f"1,{int(flip)},3",
        source_size=source,
        target_size=target,
    )
    benchmark = load_benchmark("tss", path)
    result = perfect(places, source, mirrored=flip)
    outcome = scored(benchmark, result, 0.05)
    assert outcome.hits == (outcome.count,) == (target[0] * target[1],)
    if flip:  # the same answer, taken for one about the picture as it is, is right only in the middle
        not_flipped = load_benchmark("tss", _with_flip(path, 0))
        assert scored(not_flipped, result, 0.05).hits[0] < 0.25 * outcome.count
    assert benchmark.flow is not None
    written = benchmark.flow(benchmark.cases[0], result, "cells")
    assert np.abs(written - truth).max() <= 0.501  # to the nearest pixel


def _with_flip(path: Path, flip: int) -> Path:
    path.write_text(path.read_text().replace(",1,1,3", f",1,{flip},3"))
    return path


def test_matches_on_the_sources_border_are_misses_unless_they_are_kept(tmp_path: Path) -> None:
    data = tiny.tss(tmp_path).parent  # the true flow is zero everywhere
    released, kept = load_benchmark("tss", data), load_benchmark("tss", data, keep_border=True)
    result = identity(SIZE)
    border = 2 * 40 + 2 * 28
    assert scored(released, result).hits == (30 * 40 - border,)
    assert scored(kept, result).hits == (30 * 40,)
    assert released.flow is not None and kept.flow is not None
    flow = released.flow(released.cases[0], result, "cells")
    assert (flow == UNKNOWN_FLOW).all(axis=2).sum() == border
    np.testing.assert_allclose(flow[inner(SIZE) > 0], 0, atol=1e-4)
    np.testing.assert_allclose(kept.flow(kept.cases[0], result, "cells"), 0, atol=1e-4)
    assert "border are misses" in released.protocol and "border are scored as they are" in kept.protocol


def test_the_border_is_that_of_the_source_for_mirrored_pairs_too(tmp_path: Path) -> None:
    data = tiny.tss(tmp_path, row="1,1,3").parent
    benchmark = load_benchmark("tss", data)
    assert benchmark.flow is not None
    flow = benchmark.flow(benchmark.cases[0], identity(SIZE), "cells")
    np.testing.assert_array_equal((flow < 1e9).all(axis=2), inner(SIZE) > 0)
    np.testing.assert_allclose(flow[5, 1:-1, 0], [39 - 2 * x for x in range(1, 39)], atol=1e-4)


def test_borders_are_kept_for_tss_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--keep-border applies to --benchmark tss only"):
        load_benchmark("pf-willow", tiny.pf_willow(tmp_path).parent, keep_border=True)


def test_flow_is_scored_by_both_rules(tmp_path: Path) -> None:
    result = with_windows(SIZE, 1)
    benchmark = load_benchmark("tss", tiny.tss(tmp_path, result.flow("b"), inner(SIZE)).parent)
    outcome = scored(benchmark, result, 1e-4)
    assert outcome.subcell_hits == (outcome.count,) and outcome.hits[0] < outcome.count
    assert outcome.hits == scored(benchmark, identity(SIZE), 1e-4).hits


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="TSS's sample is not here: set DCC_TSS_SAMPLE")
def test_the_kits_own_sample() -> None:
    """Two pairs in both directions, one of them with flip A = 1, and the kit's hand correspondences."""
    benchmark = load_benchmark("tss", SAMPLE)
    assert [case.pair.source.mirror_of is not None for case in benchmark.cases] == [False] * 2 + [True] * 2
    for number, case in enumerate(benchmark.cases):
        assert case.truth is not None
        flow, foreground = case.truth()
        source, target = case.pair.source.load().shape[:2], foreground.shape
        np.testing.assert_array_equal(np.isfinite(flow).all(axis=2), foreground)  # 1e10 outside the mask
        # The hand correspondences (1-based, relative to the sides) lie in the pictures as they are.
        clicked = np.loadtxt(SAMPLE / Path(case.flow_path).parent / "corr.txt").reshape(-1, 2, 2)
        here, there = (clicked[:, ::-1] if case.flow_path.endswith("2.flo") else clicked).transpose(1, 0, 2)
        here, there = (p * side[::-1] - 1 for p, side in ((here, target), (there, source)))
        x, y = np.rint(here).astype(int).T
        known = foreground[y, x]
        errors = np.linalg.norm(here + flow[y, x] - there, axis=1)[known]
        assert known.mean() > 0.8 and np.median(errors) < 1
        # A perfect matcher finds every point; one whose answer is not mirrored back nearly none.
        mirrored = case.pair.source.mirror_of is not None
        places = np.nan_to_num(pixels(target) + flow)
        outcome = scored(benchmark, perfect(places, source, mirrored=mirrored), case=number)
        # Rounded to whole pixels, one place of 73,134 comes to lie on the border, which counts as a miss.
        assert outcome.hits[0] >= outcome.count - 1 and outcome.length == max(source)
        wrong = scored(benchmark, perfect(places, source, mirrored=not mirrored), case=number)
        assert wrong.hits[0] < 0.2 * outcome.count
