"""Libraries report nothing to their makers because dcc uses them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_OF_OPENVINO = "openvino_telemetry"


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """OpenVINO is imported without its telemetry, which reports every import to its makers and keeps an
    identifier in the home folder. Where a program has imported the telemetry itself, it stays."""
    modules: dict[str, Any] = sys.modules  # None in it makes an import fail, which OpenVINO allows for
    if hidden := _OF_OPENVINO not in modules:
        modules[_OF_OPENVINO] = None
    try:
        yield
    finally:
        if hidden:
            modules.pop(_OF_OPENVINO, None)
