"""Running the command line, and what it must say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from subprocess import CompletedProcess

import click

from dccnet.cli import dcc

Cli = Callable[..., CompletedProcess[str]]


def run_here(command: click.Command, *arguments: str) -> None:
    """Run a command in this process, with the settings of ``dcc``: click keeps the names of ``--help`` from
    the first call on."""
    command.main(list(arguments), standalone_mode=False, **dcc.context_settings)


def one_sentence(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    notes = ("running on ", "built-in model ", "fetching ")  # which engine auto took, and which model
    lines = [line for line in lines if not line.startswith(notes)]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("dcc: ")
    for part in parts:
        assert part in lines[0], lines[0]
