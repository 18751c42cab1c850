"""Numbers in options that libraries overflow at are usage errors."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from dccnet.calibration.confidence.commands import confidence_command
from dccnet.runtime.commands.match import match
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


@pytest.mark.parametrize(
    ("command", "option"), [(match, "--min-confidence"), (confidence_command, "--within")]
)
def test_shares_are_numbers_before_anything_is_loaded(command: click.Command, option: str) -> None:
    result = CliRunner().invoke(command, [option, "nan", "absent", "a.jpg", "b.jpg"])
    assert result.exit_code == 2 and "nan is not a number" in result.output
