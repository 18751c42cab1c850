"""Several pictures in one run where the backend supports it, otherwise one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Backend, BatchBackend, Tensors
from dccnet.runtime.features import Features
from dccnet.runtime.views.view import View
from dccnet.runtime.views.ways import AskedPair, SeenPicture

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences
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


def encode_views(
    backend: Backend, pictures: Sequence[Mapping[View, Array]], batch: int
) -> list[dict[View, Tensors]]:
    """Features of the frames of each picture, by view, at most ``batch`` frames in one run."""
    frames = [frame for picture in pictures for frame in picture.values()]
    tensors = iter(encode_all(backend, frames, batch))
    return [{view: next(tensors) for view in picture} for picture in pictures]


def encode_seen(backend: Backend, pictures: Sequence[SeenPicture], batch: int) -> list[Features]:
    """Features of each picture, whose view as it is is among its frames; otherwise as
    :func:`encode_views`."""
    encoded = encode_views(backend, [picture.frames for picture in pictures], batch)
    return [Features.of_views(views, one.size) for views, one in zip(encoded, pictures, strict=True)]


def match_each(
    matcher: Matcher, pairs: Sequence[AskedPair], batch: int
) -> list[Callable[..., Correspondences]]:
    """Match A and B of each pair in the ways that it asks for, at most ``batch`` matches in one run.

    Returns, for each pair, a function that makes its result; its argument ``refine`` and its errors are
    those of ``Matcher.match``. Raises :class:`UsageError` where a view was not encoded.
    """
    inputs = [pair.inputs() for pair in pairs]
    outputs = iter(match_all(matcher.backend, [one for of_pair in inputs for one in of_pair], batch))
    matched = [list(islice(outputs, len(of_pair))) for of_pair in inputs]
    return [partial(_result, matcher, *one) for one in zip(pairs, matched, strict=True)]


def _result(
    matcher: Matcher, pair: AskedPair, outputs: Sequence[dict[str, Array]], refine: bool | None = None
) -> Correspondences:
    return pair.result(matcher, outputs, refine)
