"""Libraries that only some installations have, and what to type where one is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dccnet.runtime.errors import DccError


def install(*extras: str) -> str:
    """The command that adds the extras of ``pyproject.toml``: ``pip install 'dccnet[cpu,export]'``."""
    return f"pip install 'dccnet[{','.join(extras)}]'"


@contextlib.contextmanager
def required(purpose: str, *extras: str, error: type[DccError] = DccError) -> Iterator[None]:
    """Turn an ``ImportError`` in this block into one sentence: "``purpose`` needs X: pip install …"."""
    try:
        yield
    except ImportError as missing:
        raise error(f"{purpose} needs {missing.name}: {install(*extras)}") from missing
