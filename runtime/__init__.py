"""Run an exported DCCNet on OpenCV frames. Needs numpy, OpenCV and an inference engine; no torch.

>>> from runtime import Matcher
"""

from runtime.bundle import Bundle
from runtime.correspondences import Correspondences
from runtime.errors import DccError
from runtime.images import read_image, write_image
from runtime.matcher import Features, Matcher
from runtime.matches import PointMatches
from runtime.propagation.settings import Propagation
from runtime.streaming.references import Reference
from runtime.streaming.stream import FrameResult, Stream

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
