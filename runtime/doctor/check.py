"""One finding of ``dcc doctor``, and what the checks need so that nothing stops them."""

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
class Check:
    name: str
    status: Status
    value: str
    """What was found."""
    cure: str | None = None
    """What to type or do, against a problem or to add what is absent."""


class RuntimeNotLoadedError(Exception):
    """dcc's own runtime cannot be imported, whatever the reason."""


def guarded(name: str, check: Callable[[str], Check]) -> Check:
    """The check's own answer, or what stopped it."""
    try:
        return check(name)
    except RuntimeNotLoadedError:
        return Check(name, "absent", "not looked at, since dcc cannot be loaded")
    except Exception as error:  # a damaged library may raise anything
        return Check(name, "problem", first_line(error), "please report this: dcc knows no cure for it")


def of_runtime(module: str) -> Any:
    """A module of :mod:`dccnet.runtime`, which serves nothing where OpenCV cannot be imported."""
    try:
        importlib.import_module("dccnet.runtime.matcher")
    except Exception as error:
        raise RuntimeNotLoadedError(first_line(error)) from error
    return importlib.import_module(f"dccnet.runtime.{module}")


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip(": \n").partition("\n")[0]


def gib(count: int) -> str:
    """Bytes, for people."""
    return f"{count / 2**30:.1f} GiB"


@contextlib.contextmanager
def captured_stderr() -> Iterator[IO[bytes]]:
    """What libraries print past Python, in a file to seek and read within the block."""
    with tempfile.TemporaryFile() as file:
        terminal = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
