"""Run an exported DCCNet on OpenCV frames with NumPy, OpenCV and an inference engine, without PyTorch.

>>> from dccnet.runtime import Matcher

Names are imported when they are first used, so that ``dcc doctor`` works where OpenCV cannot be imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dccnet.runtime.lazy import loader

# ONNX Runtime 1.29 and later send telemetry and write a device identifier into the home folder unless this
# is set before they are imported. Every part of dcc that imports them imports this package first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from dccnet.runtime.bundle import Bundle
    from dccnet.runtime.correspondences import Correspondences
    from dccnet.runtime.errors import DccError
    from dccnet.runtime.features import Features
    from dccnet.runtime.images import read_image, write_image
    from dccnet.runtime.matcher import Matcher
    from dccnet.runtime.point_matches import PointMatches
    from dccnet.runtime.video.propagation.settings import Propagation
    from dccnet.runtime.video.references import Reference
    from dccnet.runtime.video.stream import FrameResult, Stream

__all__ = [
    "Bundle",
    "Correspondences",
    "DccError",
    "Features",
    "FrameResult",
    "Matcher",
    "PointMatches",
    "Propagation",
    "Reference",
    "Stream",
    "read_image",
    "write_image",
]

MODULES = {
    "Bundle": "dccnet.runtime.bundle",
    "Correspondences": "dccnet.runtime.correspondences",
    "DccError": "dccnet.runtime.errors",
    "Features": "dccnet.runtime.features",
    "FrameResult": "dccnet.runtime.video.stream",
    "Matcher": "dccnet.runtime.matcher",
    "PointMatches": "dccnet.runtime.point_matches",
    "Propagation": "dccnet.runtime.video.propagation.settings",
    "Reference": "dccnet.runtime.video.references",
    "Stream": "dccnet.runtime.video.stream",
    "read_image": "dccnet.runtime.images",
    "write_image": "dccnet.runtime.images",
}
"""The module that defines each public name."""


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # a type checker would accept any name, as Any
    __getattr__ = loader(__name__, MODULES)
