"""``dcc train --nproc N``: the same command in N processes, as torchrun would start them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from dccnet.runtime.errors import DccError


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run ``dcc`` with ``arguments`` in ``count`` processes of this machine; returns its exit code.

    Their output is this process' own, and one that fails has said why.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("", ".agent.server.api", ".multiprocessing.api"):  # their loggers have levels of their own
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    # Processes that each take all cores get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
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
    try:
        elastic_launch(config, sys.executable)("-m", "dccnet", *arguments)
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values() if failure.exitcode > 0]
        return codes[0] if codes else DccError.exit_code
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
