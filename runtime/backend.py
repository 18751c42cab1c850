"""The protocol of a backend: an engine that runs the graphs of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from dccnet.runtime.arrays import Array
from dccnet.runtime.manifest import FINE

_Tensor = TypeVar("_Tensor")
Tensors = Mapping[str, Any]
"""One entry for each branch of the network: NumPy arrays, or objects that a backend keeps on its device.
Where the encoder returns fine features, ``fine`` is a NumPy array with them."""


class Backend(Protocol):
    """A loaded bundle. May be used from several threads at once."""

    @property
    def description(self) -> str:
        """Engine and device, for people to read."""

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        """Features of a frame ``(H, W, 3)`` BGR, on the backend's device.

        ``manifest.frames`` has its size and type.

        The frame is a NumPy array, or any array on the GPU that :mod:`dccnet.runtime.device_arrays` reads.
        ``stream`` is the handle of a CUDA stream whose earlier work the backend waits for; later work on it
        waits for the backend.
        """

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        """The matcher's outputs for the features of two pictures, without a batch axis, on the host."""

    def close(self) -> None:
        """Release memory at once. No other thread may be using the backend, nor use it afterwards."""


@runtime_checkable
class BatchBackend(Backend, Protocol):
    """A backend that can also process several pictures in one run."""

    def encode_many(self, frames: Sequence[Array]) -> list[Tensors]:
        """Features of each frame, as from :meth:`encode`."""

    def match_many(self, pairs: Sequence[tuple[Tensors, Tensors]]) -> list[dict[str, Array]]:
        """Outputs for each pair of features, as from :meth:`match`."""


@runtime_checkable
class TimedBackend(Backend, Protocol):
    """A backend that can measure its steps on the GPU's own clock."""

    def gpu_milliseconds(self, repeats: int = 20) -> dict[str, float]:
        """Time of one run of the ``encoder`` and of the ``matcher``, without copies and the host's work."""


def matcher_inputs(a: Mapping[str, _Tensor], b: Mapping[str, _Tensor]) -> dict[str, _Tensor]:
    """The matcher's inputs by name (``local_a``, ``local_b``, …) from two pictures' features by branch.

    Fine features are not among them.
    """
    sides = (("a", a), ("b", b))
    return {
        f"{branch}_{side}": tensor
        for side, features in sides
        for branch, tensor in features.items()
        if branch != FINE
    }
