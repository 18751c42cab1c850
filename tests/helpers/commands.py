"""Running the command line, and what it must say."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import click

from dccnet.cli import dcc, main
from dccnet.runtime.messages import LOGGER

Cli = Callable[..., CompletedProcess[str]]


def run_here(command: click.Command, *arguments: str) -> None:
    """Run a command in this process, with the settings of ``dcc``: click keeps the names of ``--help`` from
    the first call on."""
    command.main(list(arguments), standalone_mode=False, **dcc.context_settings)


def called_here(*arguments: str | Path) -> CompletedProcess[str]:
    """What the command ``dcc`` does and prints with these arguments, without a process of its own, in which
    importing PyTorch alone takes two seconds."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with _as_it_was(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return CompletedProcess(["dcc", *map(str, arguments)], code, *texts)


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Takes back what ``dcc`` changes in its process."""
    logger = (LOGGER.handlers[:], LOGGER.level, LOGGER.propagate)
    shown, on_term, streams = (
        warnings.showwarning,
        signal.getsignal(signal.SIGTERM),
        (sys.stdout, sys.stderr),
    )
    try:
        yield
    finally:
        LOGGER.handlers[:], level, LOGGER.propagate = logger
        LOGGER.setLevel(level)
        warnings.showwarning = shown
        signal.signal(signal.SIGTERM, on_term)
        sys.stdout, sys.stderr = streams


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
