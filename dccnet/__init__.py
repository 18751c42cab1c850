"""Semantic correspondence with DCCNet (Huang et al., ICCV 2019): train, export, match.

>>> from dccnet import Matcher

Names are loaded when they are first used, so that matching never imports PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dccnet.runtime import MODULES
from dccnet.runtime.lazy import loader

if TYPE_CHECKING:
    from dccnet.network.config import PRESETS, ModelConfig
    from dccnet.network.loss import weak_loss
    from dccnet.network.model import DCCNet
    from dccnet.runtime import (
        Bundle,
        Correspondences,
        DccError,
        Features,
        FrameResult,
        Matcher,
        PointMatches,
        Propagation,
        Reference,
        Stream,
        read_image,
        write_image,
    )
    from dccnet.weights.checkpoint import load_checkpoint, save_checkpoint

__version__ = "0.2.0"

__all__ = [
    "PRESETS",
    "Bundle",
    "Correspondences",
    "DCCNet",
    "DccError",
    "Features",
    "FrameResult",
    "Matcher",
    "ModelConfig",
    "PointMatches",
    "Propagation",
    "Reference",
    "Stream",
    "load_checkpoint",
    "read_image",
    "save_checkpoint",
    "weak_loss",
    "write_image",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # else every name would be an attribute, of type Any
    __getattr__ = loader(
        __name__,
        {
            **MODULES,
            "DCCNet": "dccnet.network.model",
            "ModelConfig": "dccnet.network.config",
            "PRESETS": "dccnet.network.config",
            "load_checkpoint": "dccnet.weights.checkpoint",
            "save_checkpoint": "dccnet.weights.checkpoint",
            "weak_loss": "dccnet.network.loss",
        },
    )
