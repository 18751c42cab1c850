"""Options that several commands have, and their types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
"""A command's function, to which an option is added."""
LARGEST_WHOLE = 10**9
"""Of whole numbers in options: larger ones are mistakes, and libraries overflow at them."""
LARGEST_NUMBER = 1e9


class Number(click.FloatRange):
    """A number in a range; unlike click's, it is finite and at most :data:`LARGEST_NUMBER`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number) or abs(number) > LARGEST_NUMBER:
            self.fail(f"{value} is not a number up to {LARGEST_NUMBER:g}.", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number in a range, at most :data:`LARGEST_WHOLE` where the range has no end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if self.max is None and number > LARGEST_WHOLE:
            self.fail(f"{value} is larger than {LARGEST_WHOLE}.", param, ctx)
        return number


def refine_option(function: Function) -> Function:
    """Add ``--refine/--no-refine`` to a command."""
    decorate = click.option(
        "--refine/--no-refine",
        default=None,
        help="Place matches below the cells of the grid, by fine features of both pictures.  "
        "[default: where the bundle returns these]",
    )
    return decorate(function)
