"""Process settings that make training on a CPU faster and do not change its results."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from dccnet.runtime.cores import threads_within_limit
from dccnet.runtime.errors import DccError
from dccnet.runtime.user_cache import private_cache

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


@contextmanager
def fast_cpu_settings() -> Iterator[None]:
    """Keep freed memory, use no more threads than CPU time allows, and flush denormals in this block.

    All affect the whole process, so commands use this and library functions do not.
    """
    keep_freed_memory()
    if limit := threads_within_limit():  # which PyTorch does not know of
        torch.set_num_threads(min(torch.get_num_threads(), limit))
    flush_denormals(True)
    try:
        yield
    finally:
        flush_denormals(False)


def flush_denormals(on: bool) -> bool:
    """Treat denormal float32 numbers (below 1e-38) as zero; returns whether the CPU can.

    Mutual matching takes third powers and ReLUs make some cells tiny, so the gradients of a trained network
    are full of denormals, on which a CPU computes many times slower (benchmarks/denormals.py). Call it
    before threads are started: they inherit the setting from the thread that starts them.
    """
    return torch.set_flush_denormal(on)


def keep_loops_private() -> None:
    """Let Numba keep compiled loops in the user's cache, in a folder that nobody else can write.

    They are pickles, which are trusted when they are read. A folder that ``NUMBA_CACHE_DIR`` names stays.
    """
    if "NUMBA_CACHE_DIR" not in os.environ:
        with suppress(DccError):  # without a home folder, Numba looks for a place
            os.environ["NUMBA_CACHE_DIR"] = str(private_cache("numba"))


def keep_freed_memory() -> bool:
    """Make glibc keep large freed blocks instead of returning them to the system; returns whether it does.

    PyTorch on a CPU frees and allocates hundreds of MB in every operation, and the system zeroes each page
    before it hands it out again. benchmarks/training_step.py measures what that costs.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return False
    # Never map a block separately, and never trim the top of the heap.
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
