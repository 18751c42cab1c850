"""Several pictures in one run where the backend supports it, otherwise one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Backend, BatchBackend, Tensors


def encode_all(backend: Backend, frames: Sequence[Array], batch: int) -> list[Tensors]:
    """Features of each frame ``(H, W, 3)`` BGR, at most ``batch`` frames in one run."""
    if batch == 1 or not isinstance(backend, BatchBackend):
        return [backend.encode(frame) for frame in frames]
    groups = (frames[i : i + batch] for i in range(0, len(frames), batch))
    return [tensors for group in groups for tensors in backend.encode_many(group)]


def match_all(
    backend: Backend, pairs: Sequence[tuple[Tensors, Tensors]], batch: int
) -> list[dict[str, Array]]:
    """The matcher's outputs for each pair of features, at most ``batch`` pairs in one run."""
    if batch == 1 or not isinstance(backend, BatchBackend):
        return [backend.match(a, b) for a, b in pairs]
    groups = (pairs[i : i + batch] for i in range(0, len(pairs), batch))
    return [outputs for group in groups for outputs in backend.match_many(group)]
