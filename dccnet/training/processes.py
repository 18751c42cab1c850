"""One run by several processes: who is who, and what they tell each other.

torchrun (or ``launch.py``) starts them; each holds the whole network and takes its share of every
batch. A run by one process is the same thing with nobody to talk to.
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
    """This process among all; methods that talk must be called by all of them alike."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks to the user."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process' stretch of ``items``; the stretches of all are the whole, in order."""
        begin, end = (len(items) * rank // self.count for rank in (self.rank, self.rank + 1))
        return items[begin:end]

    def collect(self, items: list[T]) -> list[T]:
        """The items of all, in order of rank."""
        if self.count == 1:
            return items
        shares: list[list[T]] = [[] for _ in range(self.count)]
        dist.all_gather_object(shares, items)
        return [item for share in shares for item in share]

    def total(self, values: Sequence[float]) -> list[float]:
        """The sums over all, each value on its own."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    def any(self, here: bool) -> bool:
        return self.total([float(here)])[0] > 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            dist.barrier()


def joins_others() -> bool:
    """Whether torchrun started this process as one of several."""
    return "LOCAL_RANK" in os.environ


def is_first() -> bool:
    """Whether this is the process that speaks to the user."""
    return os.environ.get("RANK", "0") == "0"


def leave() -> None:
    """End here a process that torchrun started, whose work is done and written; one that is alone goes on.

    In Python's own ending one of a dozen was seen to abort ("terminate called without an active exception",
    a thread of PyTorch's that is not joined), and torchrun takes a finished run for a failed one then.
    """
    if joins_others():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


@contextlib.contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun started, or be alone.

    ``device`` is ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``. Raises :class:`UsageError` for a
    GPU that is not there, :class:`DccError` where another process is lost.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=_device(device, 0))
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    where = _device(device, local_rank)
    try:
        # What processes tell each other beside gradients is on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo")
        yield Processes(rank, count, where)
        dist.destroy_process_group()
    except KeyboardInterrupt:
        if rank == 0:  # which tells the user, for all
            raise
        raise SystemExit(128 + signal.SIGINT) from None
    except RuntimeError as error:  # gloo has no exception of its own
        if not any(word in str(error) for word in ("gloo", "NCCL", "TCPStore", "onnection")):
            raise
        raise DccError(
            f"process {rank} of {count} lost another one: that one's message says why; "
            "continue with dcc train --resume"
        ) from error


def _device(name: str, local_rank: int) -> torch.device:
    found = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and found == 0):
        return CPU
    if local_rank >= found:
        raise UsageError(
            f"there are {found} GPUs here for the process of number {local_rank}: start fewer processes, "
            "or train with --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
