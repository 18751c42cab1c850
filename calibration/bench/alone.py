"""Load time and memory of a bundle, measured in a process of its own (this module, run with ``-m``)."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from dccnet.runtime.errors import DccError
from dccnet.runtime.selection import Choice


def load_alone(bundle: str, choice: Choice, pictures: tuple[str, str]) -> tuple[float, float]:
    """Seconds until it can match, and MB that it needed beyond those of its libraries.

    Raises :class:`DccError` where the process fails, with what it said.
    """
    command = [
        sys.executable,
        "-m",
        "dccnet.calibration.bench.alone",
        bundle,
        json.dumps(choice),
        *pictures,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DccError(f"a process of its own could not run it: {lines[-1]}")
    values = json.loads(done.stdout.splitlines()[-1])
    return values["load_s"], values["peak_mb"]


def _main(bundle: str, choice: str, *pictures: str) -> None:
    from dccnet.runtime.images import read_image
    from dccnet.runtime.matcher import Matcher

    try:
        import onnxruntime

        del onnxruntime  # its own size is no bundle's
    except ImportError:
        pass
    values = Choice(*json.loads(choice))
    images = [read_image(path) for path in pictures]
    before = peak_mb()
    started = time.perf_counter()
    matcher = Matcher.open(bundle, **values._asdict())
    seconds = time.perf_counter() - started
    matcher.match(images[0], images[1])
    print(json.dumps({"load_s": seconds, "peak_mb": peak_mb() - before}))


def peak_mb() -> float:
    """Of this process so far. On Linux from the kernel: getrusage counts what its parent held, too."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # macOS counts in bytes


if __name__ == "__main__":
    _main(*sys.argv[1:])
