"""Python's search for cycles of objects, put off where it would take a large part of the time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Leave cycles of objects for later.

    To search many new objects, which all stay, again and again takes a fifth of the time of importing
    PyTorch and its exporter, and an eighth of an export's.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
