"""PyTorch's work for several inputs, each on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def one_thread_each(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """The function's results for all items, of which as many are computed at once as PyTorch has threads.

    PyTorch divides every operation among its threads, which wait for each other at the end of each: with
    other programs on the machine, for much longer than they compute.
    """
    threads, items = torch.get_num_threads(), list(items)
    if threads == 1 or len(items) == 1:
        return list(map(function, items))
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)
