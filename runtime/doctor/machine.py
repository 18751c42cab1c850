"""The checks of ``dcc doctor`` on the machine, on dcc and its pictures, and on the GPU."""

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

from dccnet.runtime.doctor.check import Check, RuntimeNotLoadedError, gib, guarded, of_runtime
from dccnet.runtime.doctor.installed import dccnet, dotted, install_for_gpu, load, shared_module

OLDEST_PYTHON = (3, 10)
MEMINFO = Path("/proc/meminfo")
NVIDIA_DEVICE = Path("/dev/nvidiactl")
"""There where a driver is loaded and, in a container, where a GPU was handed to it."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def python(name: str) -> Check:
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info < OLDEST_PYTHON:
        oldest = f"Python {dotted(OLDEST_PYTHON)} or later"
        return Check(name, "problem", f"{found}; dcc needs {oldest}", f"install {oldest}")
    return Check(name, "ok", found)


def system(name: str) -> Check:
    return Check(name, "ok", platform.platform())


def cores(name: str) -> Check:
    """Those that this process may use, which taskset and a container's cpuset limit."""
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return Check(name, "ok", f"{usable} of {total}")


def memory(name: str) -> Check:
    if not MEMINFO.exists():
        return Check(name, "absent", "this system does not tell")
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE))
    total, free = (gib(1024 * int(sizes[key])) for key in ("MemTotal", "MemAvailable"))
    return Check(name, "ok", f"{free} available of {total}")


def dcc(name: str) -> Check:
    try:
        version = metadata.version("dccnet")
    except metadata.PackageNotFoundError:
        return Check(name, "absent", "run from its folder and not installed", "pip install -e '.[cpu]'")
    try:
        of_runtime("errors")
    except RuntimeNotLoadedError as error:
        cure = "mend the other problems; if there are none, install dcc again"
        return Check(name, "problem", f"{version} cannot be loaded: {error}", cure)
    return Check(name, "ok", version)


def opencv(name: str) -> Check:
    keep = "opencv-python-headless"
    cv2, fault = shared_module(name, "cv2", "imread", keep)
    if fault is not None:  # dcc does not work without it
        return Check(name, "problem", fault.value, fault.cure or f"pip install {keep}")
    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    windows = f"windows by {gui[1]}" if gui and gui[1] != "NONE" else "headless"
    return Check(name, "ok", f"{cv2.__version__}, {windows}")


def cache(gpu: bool, name: str) -> Check:
    """Where engines are kept, which only a GPU needs."""
    folder: Path = of_runtime("tensorrt.cache").cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Check(name, "ok", f"{folder}, {gib(shutil.disk_usage(there).free)} free")
    reason = "may not be written to" if there.is_dir() else "is no folder"
    cure = "set XDG_CACHE_HOME to a folder that can be written"
    return Check(name, "problem" if gpu else "absent", f"no place for {folder}: {there} {reason}", cure)


def usable_gpus() -> list[Any]:
    """As ``dccnet.runtime.cuda`` describes them; why there are none, :func:`nvidia` says."""
    try:
        cuda = of_runtime("cuda")
        return list(cuda.devices()) if cuda.cuda_problem() is None else []
    except Exception:
        return []


def nvidia(name: str) -> Check:
    cuda = of_runtime("cuda")
    problem: str | None = cuda.cuda_problem()
    if problem is None:
        found = [
            "{} (sm{}{}, {})".format(gpu.name, *gpu.capability, gib(gpu.total_memory))
            for gpu in cuda.devices()
        ]
        return Check(name, "ok", "; ".join(found + _driver()))
    if not NVIDIA_DEVICE.exists():
        return Check(name, "absent", problem)
    if guarded(name, bindings).status == "absent":
        return Check(name, "absent", problem, install_for_gpu())
    cure = "update the NVIDIA driver (CUDA 13 needs 580 or later); start a container with --gpus all"
    return Check(name, "problem", "; ".join([problem, *_driver()]), cure)


def _driver() -> list[str]:
    text = NVIDIA_DRIVER.read_text() if NVIDIA_DRIVER.exists() else ""
    return [f"driver {version}" for version in re.findall(r"\d+\.[\d.]+", text)[:1]]


def bindings(name: str) -> Check:
    _, fault = load(name, "cuda.bindings.runtime", dccnet("gpu"))
    return fault or Check(name, "ok", importlib.import_module("cuda.bindings").__version__)


def pycuda(name: str) -> Check:
    """Without importing it, which needs a driver."""
    if importlib.util.find_spec("pycuda") is None:
        return Check(name, "absent", "not installed, and not needed beside cuda-python")
    return Check(name, "ok", metadata.version("pycuda"))
