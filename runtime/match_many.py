"""Match many pairs that share pictures: a picture is encoded once, while its features fit in memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Union

from dccnet.runtime.arrays import Image
from dccnet.runtime.backend import Tensors
from dccnet.runtime.batching import encode_all, match_each
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import ArgumentError, ImageError
from dccnet.runtime.features import Features
from dccnet.runtime.geometry import mirror
from dccnet.runtime.given_pictures import GivenPicture, as_image

if TYPE_CHECKING:
    from dccnet.runtime.matcher import Matcher

Picture = Union[GivenPicture, Features]  # noqa: UP007 (Python 3.10 evaluates it)
"""An array, a file, a picture of PIL, or features. The same object or path is the same picture."""
Pair = tuple[Picture, Picture]


def match_many(
    matcher: Matcher,
    pairs: Iterable[Pair],
    batch: int = 1,
    cache_bytes: int = 1 << 30,
    on_error: Callable[[int, ImageError], None] | None = None,
) -> Iterator[Correspondences]:
    """See ``Matcher.match_many``. Takes ``batch`` pairs at a time from ``pairs``."""
    if batch < 1:
        raise ArgumentError(f"a batch contains at least one pair, not {batch}")
    cache = _Cache(matcher, batch, cache_bytes)
    numbered = enumerate(pairs)
    while group := list(islice(numbered, batch)):
        keyed = [(number, (_Keyed(a), _Keyed(b))) for number, (a, b) in group]
        failed = cache.encode([pair for _, pair in keyed])
        whole = []
        for number, (first, second) in keyed:
            error = failed.get(first.key) or failed.get(second.key)
            if error is None:
                whole.append((cache.features(first), cache.features(second), matcher.mirror))
            elif on_error is None:
                raise error
            else:
                on_error(number, error)
        cache.shrink()
        yield from (result() for result in match_each(matcher, whole, batch))


class _Keyed:
    """A picture and its key in the cache, which for a path takes a look at the disk."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.key: Hashable = (
            Path(picture).resolve() if isinstance(picture, (str, os.PathLike)) else id(picture)
        )


class _Entry(NamedTuple):
    features: Features
    picture: Picture
    """Kept, because another array may get the identity of one that is freed."""
    nbytes: int


class _Cache:
    """Features of the pictures that were used last, within a number of bytes."""

    def __init__(self, matcher: Matcher, batch: int, limit: int) -> None:
        self._matcher, self._batch, self._limit = matcher, batch, limit
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._bytes = 0

    def features(self, keyed: _Keyed) -> Features:
        picture = keyed.picture
        return picture if isinstance(picture, Features) else self._entries[keyed.key].features

    def encode(self, pairs: Sequence[tuple[_Keyed, _Keyed]]) -> dict[Hashable, ImageError]:
        """Encode the pictures whose features are not there; returns the errors of those that cannot be.

        Where the matcher mirrors, sources are encoded mirrored, too.
        """
        failed: dict[Hashable, ImageError] = {}
        new: dict[Hashable, tuple[Picture, Image]] = {}
        mirrors = {source.key for source, _ in pairs if self._matcher.mirror is not False}
        for keyed in (keyed for pair in pairs for keyed in pair):
            picture, key = keyed.picture, keyed.key
            if key in self._entries:
                self._entries.move_to_end(key)
            if isinstance(picture, Features) or key in new or key in failed or self._has(key, mirrors):
                continue
            try:
                new[key] = (picture, as_image(picture))
            except ImageError as error:
                failed[key] = error
        plain = {key: image for key, (_, image) in new.items() if key not in self._entries}
        tensors = dict(zip(plain, self._encoded(list(plain.values())), strict=True))
        turned = {key: mirror(image) for key, (_, image) in new.items() if key in mirrors}
        mirrored = dict(zip(turned, self._encoded(list(turned.values())), strict=True))
        for key, (picture, image) in new.items():
            before = self._entries.pop(key, None)
            found = tensors[key] if before is None else before.features.tensors
            features = Features(found, (image.shape[0], image.shape[1]), mirrored.get(key))
            nbytes = features.nbytes + (0 if isinstance(picture, (str, os.PathLike)) else image.nbytes)
            self._entries[key] = _Entry(features, picture, nbytes)
            self._bytes += nbytes - (0 if before is None else before.nbytes)
        return failed

    def _has(self, key: Hashable, mirrors: Container[Hashable]) -> bool:
        entry = self._entries.get(key)
        return entry is not None and (entry.features.mirrored is not None or key not in mirrors)

    def _encoded(self, images: Sequence[Image]) -> list[Tensors]:
        frames = [self._matcher.manifest.frames.of(image) for image in images]
        return encode_all(self._matcher.backend, frames, self._batch)

    def shrink(self) -> None:
        """Release the features that were used longest ago, until the others are within the limit."""
        while self._bytes > self._limit:
            self._bytes -= self._entries.popitem(last=False)[1].nbytes
