"""The photographs of animals that come with the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dccnet.demo
from dccnet.runtime.arrays import Image

ANIMALS = Path(dccnet.demo.__file__).parent / "animals"


def flipped(image: Image) -> Image:
    """As seen in a mirror."""
    return np.ascontiguousarray(image[:, ::-1])
