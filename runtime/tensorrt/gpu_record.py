"""What engines record about the GPU that they were built on, or compared on."""

from __future__ import annotations

import re
from pathlib import Path

from dccnet.runtime.cuda import Device
from dccnet.runtime.manifest import GpuRecord

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def gpu_record(device: Device) -> GpuRecord:
    """Name, capability and driver of this GPU."""
    return GpuRecord(device.name, device.capability, driver_version())


def driver_version() -> str | None:
    """Version of the NVIDIA driver, such as ``580.65.06``; None where the system does not say."""
    try:
        text = NVIDIA_DRIVER.read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"\d+\.[\d.]+", text)
    return None if match is None else match[0]


def describe_gpu(gpu: GpuRecord) -> str:
    """``NVIDIA L4 (sm89, driver 580.65.06)``."""
    driver = "" if gpu.driver is None else f", driver {gpu.driver}"
    return f"{gpu.name} ({sm_name(gpu.capability)}{driver})"


def sm_name(capability: tuple[int, int]) -> str:
    """``sm89`` for the compute capability 8.9."""
    return "sm{}{}".format(*capability)
