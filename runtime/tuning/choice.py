"""What ``dcc tune`` chose for a bundle, and the machine that it is right for."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from dccnet.runtime.cores import usable_cores
from dccnet.runtime.errors import EngineError
from dccnet.runtime.manifest import ENCODER, MATCHER, GpuRecord, Manifest

SCHEMA = 1
MOST_THREADS = 256
ENGINES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-rtx"),
}
"""The packages of each backend, whose versions a choice depends on."""


Provider = Literal["cpu", "cuda", "directml", "coreml", "xnnpack"]
ON_CPU = ("cpu", "xnnpack")
"""The providers that compute on the CPU alone."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a graph."""

    backend: Literal["onnxruntime", "openvino", "tensorrt"]
    provider: Provider = "cpu"
    """ONNX Runtime's, a key of ``PROVIDERS``; of the others, their device."""
    threads: int = 0
    """CPU threads; 0: one for each core."""
    bf16: bool = False
    """OpenVINO computes in bfloat16."""

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MOST_THREADS:
            raise ValueError(f"from 0 to {MOST_THREADS} threads, not {self.threads}")

    @property
    def on_gpu(self) -> bool:
        """Whether features stay on an NVIDIA GPU, so that both graphs must run in this way."""
        return self.backend == "tensorrt" or self.provider == "cuda"

    @property
    def on_cpu(self) -> bool:
        """Whether it computes on the CPU alone."""
        return self.backend != "tensorrt" and self.provider in ON_CPU

    @property
    def title(self) -> str:
        """``openvino, bfloat16, 2 threads``."""
        parts: list[str] = [self.backend, *([self.provider] if self.provider != "cpu" else [])]
        parts += ["bfloat16"] if self.bf16 else []
        return ", ".join([*parts, *([f"{self.threads} threads"] if self.threads else [])])


USUAL = Way("onnxruntime")
"""The way of a machine without a GPU where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the times depend on, besides the bundle."""

    processor: str
    cores: int
    """That this process may use."""
    gpu: str | None = None
    """Name and driver of the first NVIDIA GPU."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to run one graph, as it was measured."""

    graph: Literal["encoder", "matcher"]
    way: Way
    milliseconds: float
    """Median of one run."""
    spread: float
    """Third quartile over first: 1 on an idle machine."""
    problem: str | None = None
    """Why it may not be chosen, although it runs; None where it agrees with ONNX Runtime on the CPU."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The fastest way for each graph of one bundle on one machine."""

    schema: int
    graphs: dict[str, str]
    """SHA-256 of the graphs that were measured."""
    machine: Machine
    packages: dict[str, str]
    """Versions of the installed engines."""
    encoder: Way
    matcher: Way
    rounds: int
    measured: tuple[Measured, ...] = ()

    @property
    def bf16(self) -> bool:
        """Whether a graph computes in bfloat16."""
        return self.encoder.bf16 or self.matcher.bf16

    @property
    def summary(self) -> str:
        """``encoder in openvino, matcher in onnxruntime``."""
        if self.encoder == self.matcher:
            return f"both graphs in {self.encoder.title}"
        return f"{ENCODER} in {self.encoder.title}; {MATCHER} in {self.matcher.title}"

    def staleness(self, manifest: Manifest) -> str | None:
        """Why the choice does not hold for this bundle, here and now; None where it does."""
        if self.schema != SCHEMA:
            return "another version of dcc made it"
        if self.graphs != digests(manifest):
            return "the bundle has other graphs now"
        here = this_machine()
        if self.machine != here:
            return (
                f"it was measured on another machine ({describe(self.machine)}; this is {describe(here)})"
            )
        now = packages()
        changed = [
            name for name in sorted({*now, *self.packages}) if now.get(name) != self.packages.get(name)
        ]
        if changed:
            was, there = (
                ", ".join(f"{n} {v.get(n, '(none)')}" for n in changed) for v in (self.packages, now)
            )
            return f"it was measured with {was}, and now there is {there}"
        return None


def digests(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of the graphs that run."""
    return {name: manifest.graphs[name].sha256 for name in (ENCODER, MATCHER)}


def packages() -> dict[str, str]:
    """Versions of the installed packages that run graphs."""
    found = {}
    for names in ENGINES.values():
        for name in names:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return found


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(processor(), usable_cores(), _gpu())


def describe(machine: Machine) -> str:
    """``AMD EPYC, 2 cores``."""
    gpu = "" if machine.gpu is None else f", {machine.gpu}"
    return f"{machine.processor}, {machine.cores} cores{gpu}"


def processor() -> str:
    """Name of the processor, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _gpu() -> str | None:
    from dccnet.runtime.cuda import devices
    from dccnet.runtime.tensorrt.gpu_record import describe_gpu, driver_version

    try:
        first, *_ = devices()  # without a context on the GPU, which may be busy or not wanted
    except (EngineError, ValueError):
        return None
    return describe_gpu(GpuRecord(first.name, first.capability, driver_version()))
