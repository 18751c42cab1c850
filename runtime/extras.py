"""Libraries of optional extras, and the command that installs a missing one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dccnet.runtime.errors import DccError


def install(*extras: str) -> str:
    """The command that installs extras of ``pyproject.toml``: ``pip install 'dccnet[cpu,export]'``."""
    return f"pip install 'dccnet[{','.join(extras)}]'"


@contextlib.contextmanager
def required(purpose: str, *extras: str, error: type[DccError] = DccError) -> Iterator[None]:
    """Raise ``error`` for an ``ImportError`` in this block: "``purpose`` needs X: pip install …"."""
    try:
        yield
    except ImportError as missing:
        raise error(f"{purpose} needs {missing.name}: {install(*extras)}") from missing
