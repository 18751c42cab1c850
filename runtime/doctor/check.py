"""Running the checks of ``dcc doctor``, none of which may raise."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal

Status = Literal["ok", "absent", "problem"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check."""

    name: str
    status: Status
    value: str
    """What the check found."""
    cure: str | None = None
    """What to type or do to solve a problem, or to install what is absent."""


class RuntimeNotLoadedError(Exception):
    """dcc's own runtime cannot be imported."""


def run_check(name: str, check: Callable[[str], CheckResult]) -> CheckResult:
    """The check's result, or one that reports the exception which it raised."""
    try:
        return check(name)
    except RuntimeNotLoadedError:
        return CheckResult(name, "absent", "not checked, since dcc cannot be loaded")
    except Exception as error:  # a damaged library may raise anything
        return CheckResult(
            name, "problem", first_line(error), "please report this: dcc knows no cure for it"
        )


def import_runtime(module: str) -> Any:
    """Import a module of :mod:`dccnet.runtime`.

    Raises :class:`RuntimeNotLoadedError` where matching cannot be imported, for example without OpenCV.
    """
    try:
        importlib.import_module("dccnet.runtime.matcher")
    except Exception as error:
        raise RuntimeNotLoadedError(first_line(error)) from error
    return importlib.import_module(f"dccnet.runtime.{module}")


def first_line(error: Exception) -> str:
    """Type and message of an exception, in one line."""
    return f"{type(error).__name__}: {error}".strip(": \n").partition("\n")[0]


def format_gib(count: int) -> str:
    """A number of bytes as ``1.5 GiB``."""
    return f"{count / 2**30:.1f} GiB"


@contextlib.contextmanager
def captured_stderr() -> Iterator[IO[bytes]]:
    """Redirect the process's stderr, where native libraries print, to a file that the block can read."""
    with tempfile.TemporaryFile() as file:
        terminal = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
