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


class MirrorChoice(click.Choice):  # type: ignore[type-arg]  # a type parameter since click 8.2
    """``no``, ``yes`` or ``auto``, as False, True or "auto"."""

    def __init__(self) -> None:
        super().__init__(["no", "yes", "auto"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, bool):  # converted before
            return value
        chosen = super().convert(value, param, ctx)
        return chosen if chosen == "auto" else chosen == "yes"


def mirror_option(function: Function) -> Function:
    """Add ``--mirror`` to a command."""
    decorate = click.option(
        "--mirror",
        type=MirrorChoice(),
        default="no",
        show_default=True,
        help="Match A mirrored left to right, for things that face opposite ways; auto: where matches are "
        "then clearly more confident, for twice the time. Left and right parts, such as eyes, then swap.",
    )
    return decorate(function)


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
