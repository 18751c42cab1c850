"""Threads for loops that Numba has compiled: they run without Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Result = TypeVar("_Result")


def at_once(jobs: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """Results of all jobs, on as many threads as PyTorch uses.

    The threads are new ones every time: they take over how this one treats denormals
    (``dccnet/training/cpu.py``).
    """
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(jobs)))) as pool:
        return [job.result() for job in [pool.submit(job) for job in jobs]]
