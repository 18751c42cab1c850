"""What training asks of the process that it runs in; both concern CPUs, and neither the results."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


@contextmanager
def settled() -> Iterator[None]:
    """Both of the below. They affect the whole process, so commands do this and libraries do not."""
    keep_freed_memory()
    flush_denormals(True)
    try:
        yield
    finally:
        flush_denormals(False)


def flush_denormals(on: bool) -> bool:
    """Take numbers too small for float32's usual format (below 1e-38) as zero; says whether the CPU can.

    Mutual matching takes third powers and ReLUs leave little of some cells: once a network has learned
    something, such numbers are everywhere in its gradients, and each costs a CPU many times an
    ordinary one (benchmarks/denormals.py). Before threads are started: they take it over from this one.
    """
    return torch.set_flush_denormal(on)


def keep_freed_memory() -> bool:
    """Ask glibc not to hand large freed blocks back to the system; says whether it agreed.

    PyTorch on a CPU frees and allocates hundreds of MB at every operation, and a page that comes
    back from the system must be zeroed first: see benchmarks/training_step.py for what it costs.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return False
    # No block gets a mapping of its own, and the heap's top is never trimmed.
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
