"""How Numba compiles the loops of this folder, and keeps them for later processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def digest(folder: Path) -> str:
    """A hash of the contents of all Python files in a folder."""
    content = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


_VERSION = digest(Path(__file__).parent)


def compiled(function: _Function) -> _Function:
    """Compile when first called, to code that runs without Python's lock, and keep the result.

    Numba keeps compiled code until the function's own file changes, although it contains functions and
    tuples of other files, too. So the name under which it is kept changes with every file of this folder.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        # Sums may be computed in any order. Unlike fastmath=True, NaN and infinity keep their meaning.
        "fastmath": {"contract", "nsz", "reassoc"},
    }
    function.__qualname__ = f"{function.__qualname__}_{_VERSION}"
    try:
        return cast("_Function", numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder can be written to for compiled code
        return cast("_Function", numba.njit(**options)(function))


def inlined(function: _Function) -> _Function:
    """Insert the function into those that call it, before they are compiled."""
    return cast("_Function", numba.njit(inline="always")(function))
