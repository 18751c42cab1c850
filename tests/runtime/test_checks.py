"""The checks of arguments: what is taken as it is meant, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dccnet.runtime.checks import as_boxes, as_labels, as_mask, as_points
from dccnet.runtime.errors import ArgumentError
from dccnet.runtime.video.references import Reference
from tests.helpers.streams import IdentityBackend, grey, matcher_of


@given(arrays.arrays(np.float64, arrays.array_shapes(max_dims=3, max_side=6)))
def test_points_have_two_columns_or_are_refused(values: np.ndarray) -> None:  # type: ignore[type-arg]
    if values.ndim == 2 and values.shape[1] == 2 and np.isfinite(values).all():
        np.testing.assert_array_equal(as_points(values), values)
    else:
        with pytest.raises(ArgumentError):
            as_points(values)


@given(st.lists(st.tuples(*[st.integers(0, 99)] * 2)))
def test_lists_of_points_keep_their_numbers(rows: list[tuple[int, int]]) -> None:
    assert as_points(rows).tolist() == [[float(x), float(y)] for x, y in rows]


def test_scores_beside_points_and_boxes_are_refused_wherever_they_are_given() -> None:
    """Six numbers in a row were taken for one and a half boxes, three for one and a half points."""
    matcher = matcher_of(IdentityBackend())
    points = [[20.0, 10.0, 0.9], [30.0, 20.0, 0.8]]
    boxes = [[1.0, 2.0, 9.0, 9.0, 0.9, 0.0], [2.0, 2.0, 8.0, 8.0, 0.8, 1.0]]
    for given_, says in (({"points": points}, "2 columns"), ({"boxes": boxes}, "4 columns")):
        with pytest.raises(ArgumentError, match=says):
            matcher.stream([grey(3)], grey(0), **given_)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match=says):
            Reference(grey(0), "a", **given_)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="4 columns"):
        as_boxes([1.0, 2.0, 3.0, 4.0])


def test_a_mask_of_truth_values_is_one_of_labels() -> None:
    mask = np.zeros((48, 60), bool)
    mask[10:20] = True
    assert as_mask(mask).dtype == np.uint8 and as_mask(mask).max() == 1
    np.testing.assert_array_equal(as_mask(mask.astype(np.int64) * 7), mask.astype(np.uint8) * 7)
    np.testing.assert_array_equal(as_mask(mask.astype(np.float32)), mask)
    with matcher_of(IdentityBackend()).stream([grey(3)], grey(0), mask=mask) as stream:
        carried = next(stream).carried
    assert carried is not None and carried.mask is not None
    assert set(np.unique(carried.mask.mask)) == {0, 1}


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.full((4, 5), 0.4), "threshold"),
        (np.full((4, 5), 300), "0 to 255"),
        (np.full((4, 5), -1), "0 to 255"),
        (np.full((4, 5), np.nan), "0 to 255"),
        (np.zeros((4, 5, 4), np.uint8), "shape"),
        (np.zeros((1, 1, 4, 5), bool), "shape"),
        (np.array([["a", "b"]]), "numbers"),
    ],
)
def test_other_masks_are_refused(mask: np.ndarray, says: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ArgumentError, match=says):
        as_mask(mask)


def test_one_text_is_no_list_of_labels() -> None:
    with pytest.raises(ArgumentError, match="list of texts"):
        as_labels("tip")
    with pytest.raises(ArgumentError, match="list of texts"):
        matcher_of(IdentityBackend()).stream(
            [grey(3)], grey(0), points=[[1, 2], [3, 4], [5, 6]], labels="tip"
        )


def test_a_batch_of_no_pairs_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least one pair"):
        list(matcher_of(IdentityBackend()).match_many([(grey(1), grey(2))], batch=0))
