"""Memory that stays with the process between training steps."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Ask glibc not to hand large freed blocks back to the system; says whether it agreed.

    PyTorch on a CPU frees and allocates hundreds of MB at every operation, and a page that comes
    back from the system must be zeroed first: see benchmarks/training_step.py for what it costs.
    Affects the whole process, so commands call it and libraries do not.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return False
    # No block gets a mapping of its own, and the heap's top is never trimmed.
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
