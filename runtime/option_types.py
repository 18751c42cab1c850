"""Options that several commands have, and their types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from dccnet.runtime.views.choices import MIRRORS, VIEWS

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


class NamedValues(click.Choice):  # type: ignore[type-arg]  # a type parameter since click 8.2
    """A value that is chosen by its name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(list(values))
        self._values = values

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):  # converted before
            return value
        return self._values[super().convert(value, param, ctx)]


def ways_options(function: Function) -> Function:
    """Add ``--mirror`` and ``--views`` to a command."""
    for decorate in (
        click.option(
            "--views",
            type=NamedValues({str(count): count for count in VIEWS}),
            default="1",
            show_default=True,
            help="Match so many views of both pictures, also zoomed and turned ones, and keep what "
            "neighbouring matches support most: more are more accurate, and take nearly so many times as "
            "long.",
        ),
        click.option(
            "--mirror",
            type=NamedValues(MIRRORS),
            default="no",
            show_default=True,
            help="Match A mirrored left to right, for things that face opposite ways; auto: where matches "
            "then have clearly more confidence or support, for twice the time. Left and right parts, such "
            "as eyes, then swap.",
        ),
    ):
        function = decorate(function)
    return function


def backend_option(function: Function) -> Function:
    """Add ``--backend`` to a command that runs a bundle."""
    from dccnet.runtime.selection import BACKENDS

    decorate = click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default="auto",
        show_default=True,
        help="Backend that runs the network; auto takes what dcc tune chose, or the usual fastest here.",
    )
    return decorate(function)


def device_option(function: Function) -> Function:
    """Add ``--device`` to a command."""
    decorate = click.option(
        "--device",
        default="auto",
        show_default=True,
        help="cpu, cuda or cuda:N; for openvino, also gpu or npu.",
    )
    return decorate(function)


def bf16_option(function: Function) -> Function:
    """Add ``--bf16`` to a command."""
    decorate = click.option(
        "--bf16",
        is_flag=True,
        help="Let --backend openvino compute in bfloat16: faster where the CPU has it, less exact.",
    )
    return decorate(function)


def trust_engine_option(function: Function) -> Function:
    """Add ``--trust-engine`` to a command."""
    decorate = click.option(
        "--trust-engine", is_flag=True, help="Load engines that the bundle's manifest does not name."
    )
    return decorate(function)


def threads_option(function: Function) -> Function:
    """Add ``--threads`` to a command."""
    decorate = click.option(
        "--threads", type=Whole(0, 256), default=0, help="CPU threads.  [default: all cores]"
    )
    return decorate(function)
