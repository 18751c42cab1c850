"""One run in several processes: their ranks and the data that they exchange.

torchrun (or ``launch.py``) starts the processes. Each has the whole network and computes its share of every
batch. A run in one process uses the same code and exchanges nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from dccnet.runtime.errors import DccError, UsageError

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process' rank among ``count`` processes.

    All processes must call the methods that exchange data, in the same order: :meth:`collect`,
    :meth:`total`, :meth:`any` and :meth:`wait`.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this process writes the files and reports to the user."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process' share of ``items``; the shares of all processes in order are all the items."""
        begin, end = (len(items) * rank // self.count for rank in (self.rank, self.rank + 1))
        return items[begin:end]

    def collect(self, items: list[T]) -> list[T]:
        """The items of all processes, in order of rank."""
        if self.count == 1:
            return items
        shares: list[list[T]] = [[] for _ in range(self.count)]
        dist.all_gather_object(shares, items)
        return [item for share in shares for item in share]

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum of each value over all processes."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    def any(self, here: bool) -> bool:
        """Whether ``here`` is true in any process."""
        return self.total([float(here)])[0] > 0

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            dist.barrier()


def joins_others() -> bool:
    """Whether torchrun started this process as one of several."""
    return "LOCAL_RANK" in os.environ


def is_first() -> bool:
    """Whether this process reports to the user."""
    return os.environ.get("RANK", "0") == "0"


def leave() -> None:
    """End a process that torchrun started, once its files are written; otherwise return.

    During Python's normal shutdown about one process in a dozen aborted ("terminate called without an
    active exception", from a PyTorch thread that is not joined), and torchrun reports that as a failure.
    """
    if joins_others():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


@contextlib.contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun started; without torchrun there is only this process.

    ``device`` is ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``. Raises :class:`UsageError` if there
    are too few GPUs, and :class:`DccError` if another process fails.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=_device(device, 0))
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    where = _device(device, local_rank)
    try:
        # Everything that processes exchange besides gradients is on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo")
        yield Processes(rank, count, where)
        dist.destroy_process_group()
    except KeyboardInterrupt:
        if rank == 0:  # the first process reports it for all
            raise
        raise SystemExit(128 + signal.SIGINT) from None
    except RuntimeError as error:  # gloo has no exception of its own
        if not any(word in str(error) for word in ("gloo", "NCCL", "TCPStore", "onnection")):
            raise
        raise DccError(
            f"process {rank} of {count} lost the connection to another process, whose message says why; "
            "continue with dcc train --resume"
        ) from error


def _device(name: str, local_rank: int) -> torch.device:
    found = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and found == 0):
        return CPU
    if local_rank >= found:
        raise UsageError(
            f"process {local_rank} has no GPU: this machine has {found}; start fewer processes, "
            "or train with --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
