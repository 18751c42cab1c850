"""Several pictures in one run where the backend supports it, otherwise one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Backend, BatchBackend, Tensors
from dccnet.runtime.mirroring import Mirror, kept_way, ways_to_match

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences
    from dccnet.runtime.features import Features
    from dccnet.runtime.matcher import Matcher


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


def match_each(
    matcher: Matcher, pairs: Sequence[tuple[Features, Features, Mirror]], batch: int
) -> list[Callable[..., Correspondences]]:
    """Match A and B of each pair, mirrored as it asks, at most ``batch`` matches in one run.

    Returns, for each pair, a function that makes its result; its argument ``refine`` and its errors are
    those of ``Matcher.result``. Raises :class:`UsageError` where A must be mirrored and is not.
    """
    ways = [[(way, b) for way in ways_to_match(a, mirror)] for a, b, mirror in pairs]
    tensors = [(a.tensors, b.tensors) for of_pair in ways for a, b in of_pair]
    outputs = iter(match_all(matcher.backend, tensors, batch))
    matched = [[(a, b, next(outputs)) for a, b in of_pair] for of_pair in ways]
    return [
        partial(_result, matcher, of_pair, pair[2]) for of_pair, pair in zip(matched, pairs, strict=True)
    ]


def _result(
    matcher: Matcher,
    matched: Sequence[tuple[Features, Features, dict[str, Array]]],
    mirror: Mirror,
    refine: bool | None = None,
) -> Correspondences:
    return kept_way([matcher.result(*of_way, refine) for of_way in matched], mirror)
