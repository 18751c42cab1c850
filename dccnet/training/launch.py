"""``dcc train --nproc N``: runs the same command in N processes, as torchrun does."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from dccnet.runtime.child import child_command
from dccnet.runtime.cores import usable_cores
from dccnet.runtime.errors import DccError


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run ``dcc`` with ``arguments`` in ``count`` processes on this machine and return its exit code.

    The processes share this one's standard output and error. A process that fails has reported why.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("", ".agent.server.api", ".multiprocessing.api"):  # these loggers inherit no level
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    # Processes that each use all cores would slow each other down.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"dcc-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    command = child_command("dccnet", *arguments)
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values() if failure.exitcode > 0]
        return codes[0] if codes else DccError.exit_code
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
