"""Numbers in options that libraries overflow at are usage errors."""

from __future__ import annotations

import click
import pytest

from dccnet.runtime.option_types import LARGEST_WHOLE, Number, Whole


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e300", "1e10", "x", "-1"])
def test_numbers_are_finite_and_of_a_sensible_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Number(0).convert(text, None, None)


@pytest.mark.parametrize("text", [str(10**20), "9" * 5000, "1.5", "-1"])
def test_whole_numbers_are_of_a_sensible_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Whole(0).convert(text, None, None)


def test_numbers_in_the_range_are_taken() -> None:
    assert Number(0).convert("0.5", None, None) == 0.5
    assert Whole(0).convert(str(LARGEST_WHOLE), None, None) == LARGEST_WHOLE
    assert Whole(0, 2**31 - 1).convert("2147483647", None, None) == 2**31 - 1
