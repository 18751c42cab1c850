"""Commands with many options, whose ``--help`` lists them in groups under headings of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

Groups = Mapping[str, str]
"""By heading, the options below it, in one text: ``{"Output": "--output --json"}``."""


class GroupedCommand(click.Command):
    """A command whose options are listed in ``groups``; the last one also has ``--help``.

    An option that is in no group comes last, under *Other*; tests keep that from happening.
    """

    def __init__(self, *arguments: Any, groups: Groups, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        left = {option_name(param): param for param in self.get_params(ctx) if _is_listed(param)}
        *_, last = self.groups
        for heading, names in self.groups.items():
            own = [*names.split(), *(["--help"] if heading == last else [])]
            _write(formatter, ctx, heading, [left.pop(name) for name in own if name in left])
        _write(formatter, ctx, "Other", list(left.values()))


def option_name(param: click.Parameter) -> str:
    """The first long name of an option, such as ``--output`` or the first of ``--refine/--no-refine``."""
    return next((name for name in param.opts if name.startswith("--")), param.opts[0])


def _is_listed(param: click.Parameter) -> bool:
    return isinstance(param, click.Option) and not param.hidden


def _write(
    formatter: click.HelpFormatter, ctx: click.Context, heading: str, params: Sequence[click.Parameter]
) -> None:
    records = [record for param in params if (record := param.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(heading):
            formatter.write_dl(records)
