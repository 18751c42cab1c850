"""TensorRT and TensorRT-RTX: two libraries with nearly the same Python API."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

from dccnet.runtime.errors import EngineError
from dccnet.runtime.extras import install
from dccnet.runtime.manifest import LIBRARIES

TENSORRT, RTX = LIBRARIES
TITLES = {TENSORRT: "TensorRT", RTX: "TensorRT-RTX"}
EXTRAS = {TENSORRT: "gpu", RTX: "rtx"}
"""The extra of dccnet that installs each library."""
RTX_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""GPU generations that TensorRT-RTX compiles for, on any machine: Turing to Blackwell, without the
data-centre generations (Hopper and data-centre Blackwell)."""


OLDEST = (10, 3)
"""Version of TensorRT as ``pyproject.toml`` says; that of JetPack 6.1."""


@dataclass(frozen=True, slots=True)
class Library:
    """An imported library."""

    name: str
    """``tensorrt`` or ``tensorrt_rtx``."""
    version: str
    module: Any

    @property
    def title(self) -> str:
        return f"{TITLES[self.name]} {self.version}"

    @property
    def is_rtx(self) -> bool:
        return self.name == RTX

    @property
    def network_flags(self) -> int:
        """Flags of ``create_network`` with which an engine computes in the types of its graph.

        TensorRT 10 chooses types itself unless it is told; later versions and TensorRT-RTX never do.
        """
        if self.is_rtx or _numbers(self.version) >= (11,):
            return 0
        return 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def engine_file(self, graph: str) -> str:
        """File name of a graph's engine: ``encoder.tensorrt_rtx.engine``."""
        return f"{graph}.{self.name}.engine"


def load_library(name: str) -> Library:
    """Import the library. Raises :class:`EngineError` where it is not installed or cannot be loaded."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        found = importlib.util.find_spec(name) is not None
        reason = f"cannot be loaded ({error})" if found else "is not installed"
        raise EngineError(f"{TITLES[name]} {reason}: {install(EXTRAS[name])}") from error
    version = str(module.__version__)
    if name == TENSORRT and _numbers(version) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise EngineError(f"TensorRT {version} is too old: dcc needs {oldest} or later ({install('gpu')})")
    return Library(name, version, module)


def _numbers(version: str) -> tuple[int, ...]:
    """``10.16.1.11`` -> ``(10, 16, 1, 11)``."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def installed_libraries() -> list[Library]:
    """Libraries that can be loaded. TensorRT comes first: it tunes engines on the GPU that runs them."""
    libraries = []
    for name in (TENSORRT, RTX):
        try:
            libraries.append(load_library(name))
        except EngineError:
            continue
    return libraries


KEPT_MESSAGES = 10_000
"""Of each kind: a build logs a few thousand, and a program that runs for weeks must not keep them all."""


_NO_DRIVER = re.compile(r"cudaError 35\b|CUDA initialization failure with error: 35\b")


class Messages:
    """The newest messages that a library logged; its build reports also arrive here."""

    def __init__(self, trt: Any) -> None:
        self.errors: deque[str] = deque(maxlen=KEPT_MESSAGES)
        self.warnings: deque[str] = deque(maxlen=KEPT_MESSAGES)
        self.reports: deque[str] = deque(maxlen=KEPT_MESSAGES)
        self.logger = _logger(trt, self)

    @property
    def reason(self) -> str:
        """The last error, in one line: earlier ones can be of earlier calls.

        Without a driver, an error that says only this follows every other one; it is passed over.
        """
        errors = [text for text in self.errors if not _NO_DRIVER.search(text)] or list(self.errors)
        return _one_line(errors[-1]) if errors else "no reason given"


def _logger(trt: Any, messages: Messages) -> Any:
    """A logger derived from the library's own class, the only kind that it accepts."""
    severity = trt.ILogger.Severity

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 does not accept super()

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                messages.errors.append(message)
            elif level == severity.WARNING:
                messages.warnings.append(message)
            else:
                messages.reports.append(message)

    return Logger()


def _one_line(message: str) -> str:
    return " ".join(message.split())[:300]
