"""What runs a bundle's graphs, as one small protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from dccnet.runtime.arrays import Array

_Tensor = TypeVar("_Tensor")
Tensors = Mapping[str, Any]
"""One entry a branch of the network: NumPy arrays, or what a backend keeps on its device."""


class Backend(Protocol):
    """A loaded bundle. May be used from several threads at once."""

    @property
    def description(self) -> str:
        """What runs it, and on what, for people to read."""

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        """A frame ``(H, W, 3)`` uint8 BGR of the network's size, on the host or as
        :mod:`dccnet.runtime.device_arrays` takes it -> features, where the backend wants them."""

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        """Features of one picture each -> the matcher's outputs without their batch, on the host."""

    def close(self) -> None:
        """Give memory back at once; not while another thread uses it."""


@runtime_checkable
class BatchBackend(Backend, Protocol):
    """A backend that also takes several pictures in one run."""

    def encode_many(self, frames: Sequence[Array]) -> list[Tensors]:
        """Features of each frame, as :meth:`encode` gives them."""

    def match_many(self, pairs: Sequence[tuple[Tensors, Tensors]]) -> list[dict[str, Array]]:
        """Outputs for each pair of features, as :meth:`match` gives them."""


def matcher_inputs(a: Mapping[str, _Tensor], b: Mapping[str, _Tensor]) -> dict[str, _Tensor]:
    """Features of two pictures by branch -> the matcher's inputs by name: ``local_a``, ``local_b``."""
    sides = (("a", a), ("b", b))
    return {f"{branch}_{side}": tensor for side, features in sides for branch, tensor in features.items()}
