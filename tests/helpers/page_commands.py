"""The commands on a page of the documentation."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import click

from dccnet.cli import dcc


def commands(page: Path) -> list[list[str]]:
    """The words after ``dcc`` of every command in the page's blocks of code, without comments and dots."""
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    blocks += re.findall(r"^    .*$", prose, re.M)
    parts = [part for block in blocks for line in block.splitlines() for part in re.split(r"&&|;\s", line)]
    found = [match[1] for part in parts if (match := re.match(r"\s*(?:[\w./-]*/)?dcc (.*)", part))]
    return [[word for word in shlex.split(line, comments=True) if word != "..."] for line in found]


def parse(words: list[str]) -> str:
    """Parse a command as ``dcc`` does, without running it; returns its name.

    Raises ``click.UsageError`` for what is no command or has other options.
    """
    command: click.Command = dcc
    context = click.Context(dcc, info_name="dcc", **dcc.context_settings)
    names: list[str] = []
    while isinstance(command, click.Group) and (words or not command.invoke_without_command):
        found = command.get_command(context, words[0]) if words else None
        if found is None:
            raise click.UsageError(f"there is no command dcc {' '.join([*names, *words[:1]])}")
        command, names, words = found, [*names, words[0]], words[1:]
    with contextlib.suppress(click.exceptions.Exit):  # --help, --version
        command.make_context(names[-1], list(words), parent=context)
    return " ".join(names)
