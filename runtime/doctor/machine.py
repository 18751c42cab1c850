"""Checks of ``dcc doctor``: the machine, dcc itself, OpenCV, and the GPU."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from dccnet.runtime.cores import cpu_limit, usable_cores
from dccnet.runtime.doctor.check import (
    CheckResult,
    RuntimeNotLoadedError,
    format_gib,
    import_runtime,
    run_check,
)
from dccnet.runtime.doctor.installed import (
    gpu_install_command,
    import_shared,
    try_import,
    version_text,
)
from dccnet.runtime.errors import DccError
from dccnet.runtime.extras import requirement

OLDEST_PYTHON = (3, 10)
MEMINFO = Path("/proc/meminfo")
NVIDIA_DEVICE = Path("/dev/nvidiactl")
"""Exists where a driver is loaded and, in a container, where the container has a GPU."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def check_python(name: str) -> CheckResult:
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info < OLDEST_PYTHON:
        oldest = f"Python {version_text(OLDEST_PYTHON)} or later"
        return CheckResult(name, "problem", f"{found}; dcc needs {oldest}", f"install {oldest}")
    return CheckResult(name, "ok", found)


def check_system(name: str) -> CheckResult:
    return CheckResult(name, "ok", platform.platform())


def check_cores(name: str) -> CheckResult:
    """CPU cores that this process may use; taskset and a container's limits leave fewer."""
    limit = cpu_limit()
    why = "" if limit is None else f"; its control group limits CPU time to that of {limit:g}"
    return CheckResult(name, "ok", f"{usable_cores()} of {os.cpu_count() or 1}{why}")


def check_memory(name: str) -> CheckResult:
    if not MEMINFO.exists():
        return CheckResult(name, "absent", "unknown on this system")
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE))
    total, free = (format_gib(1024 * int(sizes[key])) for key in ("MemTotal", "MemAvailable"))
    return CheckResult(name, "ok", f"{free} available of {total}")


def check_dcc(name: str) -> CheckResult:
    try:
        version = metadata.version("dccnet")
    except metadata.PackageNotFoundError:
        return CheckResult(
            name, "absent", "not installed: it runs from its folder", "pip install -e '.[cpu]'"
        )
    try:
        import_runtime("errors")
    except RuntimeNotLoadedError as error:
        cure = "solve the other problems; if there are none, install dcc again"
        return CheckResult(name, "problem", f"{version} cannot be loaded: {error}", cure)
    return CheckResult(name, "ok", version)


def check_opencv(name: str) -> CheckResult:
    keep = "opencv-python-headless"
    cv2, fault = import_shared(name, "cv2", "imread", keep)
    if fault is not None:  # also if it is absent: dcc does not work without OpenCV
        return CheckResult(name, "problem", fault.value, fault.cure or f"pip install {keep}")
    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    windows = f"windows by {gui[1]}" if gui and gui[1] != "NONE" else "headless"
    return CheckResult(name, "ok", f"{cv2.__version__}, {windows}")


def check_engine_cache(gpu: bool, name: str) -> CheckResult:
    """Folder that keeps built engines; only machines with a GPU need it."""
    cure = "set XDG_CACHE_HOME to a folder that only this user can write"
    try:
        folder: Path = import_runtime("user_cache").user_cache() / "engines"
    except DccError as error:
        return CheckResult(name, "problem" if gpu else "absent", str(error), cure)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return CheckResult(name, "ok", f"{folder}, {format_gib(shutil.disk_usage(existing).free)} free")
    reason = "is not writable" if existing.is_dir() else "is not a folder"
    return CheckResult(
        name, "problem" if gpu else "absent", f"{folder} cannot be created: {existing} {reason}", cure
    )


def usable_gpus() -> list[Any]:
    """GPUs as :mod:`dccnet.runtime.cuda` describes them; :func:`check_nvidia` says why there are none."""
    try:
        cuda = import_runtime("cuda")
        return list(cuda.devices()) if cuda.cuda_problem() is None else []
    except Exception:
        return []


def check_nvidia(name: str) -> CheckResult:
    cuda = import_runtime("cuda")
    problem: str | None = cuda.cuda_problem()
    if problem is None:
        found = [
            "{} (sm{}{}, {})".format(gpu.name, *gpu.capability, format_gib(gpu.total_memory))
            for gpu in cuda.devices()
        ]
        return CheckResult(name, "ok", "; ".join(found + _driver()))
    if not NVIDIA_DEVICE.exists():
        return CheckResult(name, "absent", problem)
    if run_check(name, check_cuda_python).status == "absent":
        return CheckResult(name, "absent", problem, gpu_install_command())
    cure = "update the NVIDIA driver (CUDA 13 needs 580 or later); start a container with --gpus all"
    return CheckResult(name, "problem", "; ".join([problem, *_driver()]), cure)


def _driver() -> list[str]:
    text = NVIDIA_DRIVER.read_text() if NVIDIA_DRIVER.exists() else ""
    return [f"driver {version}" for version in re.findall(r"\d+\.[\d.]+", text)[:1]]


def check_cuda_python(name: str) -> CheckResult:
    _, fault = try_import(name, "cuda.bindings.runtime", requirement("gpu"))
    return fault or CheckResult(name, "ok", importlib.import_module("cuda.bindings").__version__)


def check_pycuda(name: str) -> CheckResult:
    """Check that PyCUDA is installed, without importing it: its import needs a driver."""
    if importlib.util.find_spec("pycuda") is None:
        return CheckResult(name, "absent", "not installed; needed only without cuda-python")
    return CheckResult(name, "ok", metadata.version("pycuda"))
