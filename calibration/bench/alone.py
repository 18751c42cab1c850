"""Load time and memory of a bundle, measured in a separate process: this module, run as a script."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from dccnet.runtime.child import child_command
from dccnet.runtime.errors import DccError
from dccnet.runtime.pixel_limit import max_pixels, set_max_pixels
from dccnet.runtime.selection import BackendChoice


def load_alone(bundle: str, choice: BackendChoice, pictures: tuple[str, str]) -> tuple[float, float]:
    """Seconds until ``bundle`` can match, and MB of memory that it needs beyond those of its libraries.

    ``pictures`` are the files that the process matches. Raises :class:`DccError`, with the message of the
    process, where it fails.
    """
    arguments = (bundle, json.dumps(choice), str(max_pixels()), *pictures)
    command = child_command("dccnet.calibration.bench.alone", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DccError(f"a separate process could not run it: {lines[-1]}")
    values = json.loads(done.stdout.splitlines()[-1])
    return values["load_s"], values["peak_mb"]


def _main(bundle: str, choice: str, limit: str, *pictures: str) -> None:
    from dccnet.runtime.images import read_image
    from dccnet.runtime.matcher import Matcher

    try:
        import onnxruntime

        del onnxruntime  # loaded before memory is measured: its size is not the bundle's
    except ImportError:
        pass
    values = BackendChoice(*json.loads(choice))
    set_max_pixels(int(limit))
    images = [read_image(path) for path in pictures]
    before = peak_mb()
    started = time.perf_counter()
    matcher = Matcher.open(bundle, **values._asdict())
    seconds = time.perf_counter() - started
    matcher.match(images[0], images[1])
    print(json.dumps({"load_s": seconds, "peak_mb": peak_mb() - before}))


def peak_mb() -> float:
    """Peak memory of this process so far, in MB.

    On Linux it comes from /proc, because getrusage also counts the memory of the parent.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        import resource  # not there on Windows, where the peak is not known

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # macOS counts in bytes


if __name__ == "__main__":
    _main(*sys.argv[1:])
