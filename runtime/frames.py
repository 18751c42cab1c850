"""Frames: pictures in the size and type that a network's encoder takes."""

from __future__ import annotations

from dataclasses import dataclass

from dccnet.runtime.arrays import Array, Image
from dccnet.runtime.geometry import Size, resize_as_pytorch, resize_uint8

UINT8, FLOAT32 = "uint8", "float32"


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """How a picture becomes a frame: ``(H, W, 3)`` BGR, from 0 to 255.

    Raises ``ValueError`` for a type that is neither ``uint8`` nor ``float32``.
    """

    size: Size
    """(height, width) in pixels."""
    dtype: str
    """``uint8``: rounded to whole grey levels after resizing. ``float32``: never rounded, as in the code of
    the paper's authors."""

    def __post_init__(self) -> None:
        if self.dtype not in (UINT8, FLOAT32):
            raise ValueError(f"frames are {UINT8} or {FLOAT32}, not {self.dtype}")

    @property
    def description(self) -> str:
        """The value of ``frame`` in a manifest."""
        shape = f"{self.dtype}, (batch, height, width, 3), BGR"
        return shape if self.dtype == UINT8 else f"{shape}, 0 to 255, not rounded"

    def of(self, image: Image) -> Array:
        """The frame of a picture ``(H0, W0, 3)`` uint8 BGR of any size: bilinear, with aligned corners."""
        if self.dtype == UINT8:
            return resize_uint8(image, self.size)
        return resize_as_pytorch(image, self.size)
