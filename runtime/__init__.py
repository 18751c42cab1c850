"""Run an exported DCCNet on OpenCV frames. Needs numpy, OpenCV and an inference engine; no torch.

>>> from runtime import Matcher
"""

from runtime.bundle import Bundle
from runtime.correspondences import Correspondences
from runtime.errors import DccError
from runtime.images import read_image, write_image
from runtime.matcher import Features, Matcher
from runtime.matches import PointMatches

__all__ = [
    "Bundle",
    "Correspondences",
    "DccError",
    "Features",
    "Matcher",
    "PointMatches",
    "read_image",
    "write_image",
]
